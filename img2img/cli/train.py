"""img2img train: trains a translator on folders of pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from img2img.methods import METHODS


def _data(text: str) -> Any:
    return typer.Option(help=text, rich_help_panel="Data")


def _run(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="Run")


def _training(text: str) -> Any:
    return typer.Option(help=text, rich_help_panel="Training")


def _list(text: str) -> Any:
    return typer.Option(help=text, rich_help_panel="Lists")


def train(
    context: typer.Context,
    mode: Annotated[
        str | None,
        typer.Option(help=f"Method: {', '.join(METHODS.builtin)}; see --list-methods."),
    ] = None,
    a: Annotated[
        list[Path] | None,
        _data(
            "Folder of input pictures, or shards: 'horses-{000..099}.tar'. pix2pix, cut: repeat "
            "for several inputs, whose files of one name become the bands of one picture."
        ),
    ] = None,
    b: Annotated[Path | None, _data("Folder of target pictures.")] = None,
    pairs: Annotated[
        Path | None, _data("pix2pix: folder of files that show a on the left and b on the right.")
    ] = None,
    direction: Annotated[
        Literal["ab", "ba"] | None, _data("pix2pix: which half of --pairs or --data is the input.")
    ] = None,
    data: Annotated[
        list[Path] | None,
        _data(
            "A published data set: trainA and trainB, or train and test, below one folder; its "
            "test part (or else val) is held out. StarGAN: a folder with one sub-folder for each "
            "domain; repeat for several sets."
        ),
    ] = None,
    pages: Annotated[
        Literal["each", "first", "stack"] | None,
        _data(
            "What is a picture in files of several pages or slices: each page, the first alone, or "
            "all of them as its bands."
        ),
    ] = None,
    neighbors: Annotated[
        int | None,
        typer.Option(
            help="With --pages each: so many pages before and after one are further bands of the "
            "input (2.5D).",
            rich_help_panel="Data",
            min=0,
        ),
    ] = None,
    attributes: Annotated[
        Path | None, _data("StarGAN: attribute list of the first --data, CelebA's text or CSV.")
    ] = None,
    attribute: Annotated[
        list[str] | None, _data("StarGAN: a column of the list to learn; repeat.")
    ] = None,
    test_a: Annotated[
        list[Path] | None,
        _data("Folder of held-out inputs, in place of the test part of the data; repeat as --a."),
    ] = None,
    test_b: Annotated[Path | None, _data("Folder of held-out targets.")] = None,
    test_pairs: Annotated[Path | None, _data("Folder of held-out pairs.")] = None,
    test_data: Annotated[list[Path] | None, _data("Held-out data set; repeat.")] = None,
    name: Annotated[
        str | None, _run("Name of the run; by default the method and the folders.")
    ] = None,
    out: Annotated[Path, _run("Folder in which runs are created.")] = Path("runs"),
    config: Annotated[
        Path | None, _run("YAML or JSON file of settings, for example a run's config.json.")
    ] = None,
    assignments: Annotated[
        list[str] | None, _run("Any setting as key=value; repeat.", "--set")
    ] = None,
    resume: Annotated[
        Path | None,
        _run(
            "Folder of a run to continue exactly. --epochs or --steps (the total), --decay, "
            "--generator-lr, --discriminator-lr and --patience may change. auto: continue the run "
            "of this name, or start it."
        ),
    ] = None,
    dry_run: Annotated[
        bool, _run("Check the settings and the data, print the config, and exit.")
    ] = False,
    check: Annotated[bool, _run("Decode every picture before training starts.")] = True,
    preset: Annotated[
        str | None,
        _training(
            "Set of defaults: paper (the default), or another one that --list-methods shows."
        ),
    ] = None,
    size: Annotated[
        str | None,
        _training("Size of the training crops, in pixels: 256, or width x height as 512x256."),
    ] = None,
    resize: Annotated[
        str | None,
        _training(
            "Size to which pictures are resized before the crop; 0: don't resize. By default "
            "286/256 of --size (stargan: --size); --margin auto doesn't enlarge to that."
        ),
    ] = None,
    centre_crop: Annotated[
        str | None, _training("Size of a center crop that is taken before all else.")
    ] = None,
    batch: Annotated[
        str | None, _training("Pictures (or pairs) per step; auto: as many as fit into memory.")
    ] = None,
    epochs: Annotated[
        int | None, _training("Total length of the run in passes over the data.")
    ] = None,
    steps: Annotated[int | None, _training("Total length of the run in steps.")] = None,
    max_time: Annotated[
        str | None, _training("Stop after 90s, 45m or 2h30m; --resume continues.")
    ] = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"] | None, _training("Number format of the computations.")
    ] = None,
    deterministic: Annotated[
        bool | None,
        _training("Repeat and resume runs to the last bit on GPUs, too, where it takes longer."),
    ] = None,
    device: Annotated[str | None, _training("auto, cpu, cuda, cuda:1 or mps.")] = None,
    seed: Annotated[int | None, _training("Seed of every random choice.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that decode pictures.", rich_help_panel="Training", min=0),
    ] = None,
    list_methods: Annotated[bool, _list("Print the methods and exit.")] = False,
    list_objectives: Annotated[
        bool, _list("Print the adversarial objectives with formula and paper, and exit.")
    ] = False,
    list_settings: Annotated[
        bool,
        _list("Print every setting of --mode's method, its value and what it means, and exit."),
    ] = False,
) -> None:
    """Train a translator on folders of pictures.

    img2img train --mode cyclegan --a horses --b zebras

    img2img train --mode cyclegan --data horse2zebra

    img2img train --resume runs/cyclegan-horses-zebras --epochs 300

    If a folder has train and test (or val) sub-folders, as published data sets do, training uses
    train and holds out test. Every setting that --list-settings prints is an option, too:
    --generator unet, --objective hinge, --no-flip.
    """
    from img2img.cli import lists, stderr_console
    from img2img.errors import DataError, Interrupted, UsageError, needs_extra
    from img2img.files import require_utf8

    try:
        from img2img.training.config import RunConfig
        from img2img.training.fit import fit_batch
        from img2img.training.folder import is_begun, new_folder, require_checkpoint
        from img2img.training.loop import train as run_training
        from img2img.training.plan import config_for_data, make_plan, resolve_sources
        from img2img.training.ranks import joined
        from img2img.training.resume import changes_in_words, continued, refuse_fixed, resumed
        from img2img.training.settings import (
            beneath_options,
            layered,
            read_file,
            read_texts,
            require_mode,
        )
    except ImportError as error:
        raise needs_extra("train", error) from None

    if list_methods or list_objectives:
        if list_methods:
            lists.show_methods()
        if list_objectives:
            lists.show_objectives()
        return None
    console = stderr_console()
    max_minutes = _minutes(max_time) if max_time else None
    options = _given(
        {"mode": mode, "preset": preset, "name": name, "seed": seed, "device": device}
        | {"precision": precision, "deterministic": deterministic}
        | {"workers": workers, "size": size, "resize": resize}
        | {"centre_crop": centre_crop, "batch": batch, "epochs": epochs, "steps": steps}
    )
    swap = None if direction is None else direction == "ba"
    sources = _given(
        {"a": a, "b": b, "pairs": pairs, "swap": swap, "data": data}
        | {"attributes": attributes, "attribute": attribute}
        | {"pages": pages, "neighbors": neighbors}
    )
    test = _given({"a": test_a, "b": test_b, "pairs": test_pairs, "data": test_data})
    declared = [text for parameter in context.command.params for text in parameter.opts]
    automatic = resume is not None and str(resume) == "auto"
    run, changes = None if automatic else resume, ""
    if run:
        named = ("direction" if field == "swap" else field for field in sources)
        refuse_fixed([*options, *named, *(f"test_{folder}" for folder in test)])
        refuse_fixed(_given({"config": config}))
        saved = RunConfig.load(run)
        options |= read_texts(
            context.args, assignments or [], saved.mode, saved.method.model_dump(), declared
        )
        run_config = resumed(run, saved, options)
        if list_settings:
            return lists.show_settings(run_config)
        changes, fit_to_memory = changes_in_words(saved, run_config), False
    else:
        file = read_file(config) if config else {}
        method = require_mode(mode or file.get("mode"))
        lower = beneath_options(file, method, preset)
        options |= read_texts(context.args, assignments or [], method, lower, declared)
        fit_to_memory = options.get("batch") == "auto"
        values = layered(file, options, sources, test)
        run_config = RunConfig.build(values)
        if list_settings:
            return lists.show_settings(run_config)
        for folder in (*run_config.sources.folders(), *run_config.test.folders()):
            require_utf8(folder)
        run_config = config_for_data(values, console)
        existing = out / run_config.name
        if automatic and is_begun(existing):
            run, run_config = (
                existing,
                continued(existing, resolve_sources(run_config)[0], fit_to_memory),
            )
    if run:
        require_checkpoint(run)  # before pictures are decoded, which takes long
    with joined() as ranks:
        console.quiet = not ranks.first
        if changes:
            console.print(f"From the last checkpoint on: {changes}.")
        begins = ranks.from_first(run is None)
        if run is None and not begins:
            raise DataError(f"Not all machines see {existing}: put it on a disk that they share.")
        if begins:
            numbered = name is None and not automatic
            created = str(new_folder(out, run_config.name, numbered)) if ranks.first else ""
            run = Path(ranks.from_first(created))
            run_config = run_config.model_copy(update={"name": run.name})
        plan = make_plan(run_config, console, check and ranks.first)
        if fit_to_memory and begins:
            plan = fit_batch(plan, console, ranks)
        if dry_run:
            if ranks.first:
                print(plan.config.to_json())
            return None
        try:
            assert run is not None  # given, continued, or created above
            run_training(plan, run, console, max_minutes, ranks)
        except (UsageError, Interrupted) as error:  # every process raises it; the first reports it
            if ranks.first:
                raise
            raise typer.Exit(error.exit_code) from None


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, that is, are not None."""
    return {name: value for name, value in options.items() if value is not None}


def _minutes(text: str) -> float:
    """The minutes of a --max-time such as 90s, 45m or 2h30m. Raises UsageError for other texts."""
    import re

    from img2img.errors import UsageError

    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    if not match or not text:
        raise UsageError(f"--max-time {text}: use a duration such as 90s, 45m or 2h30m.")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return hours * 60 + minutes + seconds / 60
