"""img2img train: folders in, a trained translator out."""

from pathlib import Path
from typing import Annotated, Any

import typer

DATA, RUN, HOW = "Data", "Run", "Training"


def train(
    mode: Annotated[
        str | None, typer.Option(help="pix2pix (pairs), cyclegan (two sets), stargan (domains).")
    ] = None,
    a: Annotated[Path | None, typer.Option(help="Folder of inputs.", rich_help_panel=DATA)] = None,
    b: Annotated[
        Path | None, typer.Option(help="Folder of what they become.", rich_help_panel=DATA)
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(help="Folder of side-by-side a|b images.", rich_help_panel=DATA)
    ] = None,
    direction: Annotated[
        str | None, typer.Option(help="With --pairs: ab or ba.", rich_help_panel=DATA)
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="StarGAN: one sub-folder a domain.", rich_help_panel=DATA)
    ] = None,
    attributes: Annotated[
        Path | None, typer.Option(help="StarGAN: list in CelebA's format.", rich_help_panel=DATA)
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(help="A column of that list; repeat.", rich_help_panel=DATA),
    ] = None,
    test_a: Annotated[
        Path | None, typer.Option(help="Held-out inputs.", rich_help_panel=DATA)
    ] = None,
    test_b: Annotated[Path | None, typer.Option(help="Held-out b.", rich_help_panel=DATA)] = None,
    test_pairs: Annotated[
        Path | None, typer.Option(help="Held-out pairs.", rich_help_panel=DATA)
    ] = None,
    test_data: Annotated[
        Path | None, typer.Option(help="Held-out domains.", rich_help_panel=DATA)
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the run; made up by default.", rich_help_panel=RUN)
    ] = None,
    out: Annotated[Path, typer.Option(help="Where runs go.", rich_help_panel=RUN)] = Path("runs"),
    config: Annotated[
        Path | None,
        typer.Option(help="YAML or JSON: a run's config.json, say.", rich_help_panel=RUN),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value: any setting; repeat.", rich_help_panel=RUN),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on exactly where this run was.", rich_help_panel=RUN)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option(help="Check everything, print the config, stop.", rich_help_panel=RUN)
    ] = False,
    check: Annotated[
        bool, typer.Option(help="Decode every picture before training.", rich_help_panel=RUN)
    ] = True,
    size: Annotated[
        int | None, typer.Option(help="Side of the training crops, px.", rich_help_panel=HOW)
    ] = None,
    resize: Annotated[
        int | None,
        typer.Option(help="Resize to this side first; 0: not.", rich_help_panel=HOW),
    ] = None,
    centre_crop: Annotated[
        int | None, typer.Option(help="Before that, cut this square.", rich_help_panel=HOW)
    ] = None,
    batch: Annotated[int | None, typer.Option(rich_help_panel=HOW)] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the data.", rich_help_panel=HOW)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="In place of epochs.", rich_help_panel=HOW)
    ] = None,
    max_time: Annotated[
        str | None,
        typer.Option(help="Stop after 90s, 45m, 2h30m; --resume goes on.", rich_help_panel=HOW),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, fp32, bf16.", rich_help_panel=HOW)
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel=HOW)
    ] = None,
    seed: Annotated[int | None, typer.Option(rich_help_panel=HOW)] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that decode.", rich_help_panel=HOW)
    ] = None,
) -> None:
    """Train a translator on folders of pictures.

    img2img train --mode cyclegan --a horses --b zebras
    """
    from rich.console import Console

    from img2img.errors import UsageError, needs_extra

    try:
        from img2img.train.config import RunConfig
        from img2img.train.loop import make_plan
        from img2img.train.loop import train as run_training
    except ImportError as error:
        raise needs_extra("train", error) from None

    console = Console(stderr=True)
    max_minutes = _minutes(max_time) if max_time else None
    if resume:
        if mode or a or b or pairs or data or config or settings:
            raise UsageError("--resume takes everything from the run; leave the other options out.")
        run_config, run = RunConfig.load(resume), resume
    else:
        sources = {"a": a, "b": b, "pairs": pairs, "data": data, "attributes": attributes}
        if attribute:
            sources["attribute"] = tuple(attribute)
        if direction:
            sources["swap"] = _choice("--direction", direction, "ab", "ba") == "ba"
        test = {"a": test_a, "b": test_b, "pairs": test_pairs, "data": test_data}
        method = {"size": size, "resize": resize, "centre_crop": centre_crop, "batch": batch}
        values = _read(config) if config else {}
        _overlay(
            values,
            {"mode": mode, "seed": seed, "device": device, "precision": precision}
            | {"workers": workers, "sources": sources, "test": test, "method": method},
        )
        if epochs or steps:
            values["method"] |= {"epochs": epochs, "steps": steps}
        _apply_settings(values, settings or [])
        _require_mode(values)
        values["name"] = name or values.get("name") or _name_from(values)
        run = new_folder(out, values["name"], numbered=name is None)
        values["name"] = run.name
        run_config = RunConfig.build(values)
    plan = make_plan(run_config, console, check)
    if dry_run:
        print(plan.config.model_dump_json(indent=2))
        return
    run_training(plan, run, console, max_minutes)


def _minutes(text: str) -> float:
    import re

    from img2img.errors import UsageError

    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    if not found or not text:
        raise UsageError(f"--max-time {text}: write it as 90s, 45m or 2h30m.")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return hours * 60 + minutes + seconds / 60


def _choice(option: str, value: str, *choices: str) -> str:
    from img2img.errors import UsageError

    if value not in choices:
        raise UsageError(f"{option} is {' or '.join(choices)}, not {value}.")
    return value


def _read(path: Path) -> dict[str, Any]:
    import yaml

    from img2img.errors import DataError

    try:
        values = yaml.safe_load(path.read_text())  # JSON is YAML
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"The config {path} can't be read: {error}") from None
    if not isinstance(values, dict):
        raise DataError(f"The config {path} has no settings (expected `key: value` lines).")
    return values


def _overlay(values: dict[str, Any], given: dict[str, Any]) -> None:
    """Put what was given over the file's values; new sources make the old fingerprint void."""
    for key, value in given.items():
        if isinstance(value, dict):
            inner = {k: v for k, v in value.items() if v is not None}
            if inner and key == "sources":
                values.pop("fingerprint", None)
            values[key] = {**(values.get(key) or {}), **inner}
        elif value is not None:
            values[key] = value


def _apply_settings(values: dict[str, Any], settings: list[str]) -> None:
    """`--set key=value`: a setting of the method, or of the run where the method has none."""
    import difflib

    import yaml

    from img2img.errors import UsageError
    from img2img.methods import METHODS
    from img2img.train.config import RunConfig

    method = METHODS.get(values.get("mode", ""))
    inner = set(method.Config.model_fields) if method else set()
    outer = set(RunConfig.model_fields) - {"method", "sources", "test", "fingerprint"}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: write it as key=value.")
        if key not in inner | outer:
            near = difflib.get_close_matches(key, inner | outer, 1)
            hint = f" Did you mean {near[0]}?" if near else " --dry-run prints them all."
            raise UsageError(f"There is no setting {key}.{hint}")
        target = values["method"] if key in inner else values
        target[key] = yaml.safe_load(text)
        if key in ("epochs", "steps"):
            target["steps" if key == "epochs" else "epochs"] = None


def _require_mode(values: dict[str, Any]) -> None:
    from img2img.errors import UsageError
    from img2img.methods import METHODS

    if values.get("mode") not in METHODS:
        given = f"there is no mode {values['mode']}" if values.get("mode") else "which method?"
        raise UsageError(f"{given} Choose --mode {', '.join(METHODS)}.".capitalize())


def _name_from(values: dict[str, Any]) -> str:
    sources = values["sources"]
    folders = [sources.get(key) for key in ("a", "b", "pairs", "data")]
    return "-".join([values["mode"], *(Path(f).resolve().name for f in folders if f)])


def new_folder(out: Path, name: str, numbered: bool) -> Path:
    """A run folder that does not exist yet; made-up names get a number, chosen ones an error."""
    from img2img.errors import UsageError

    if Path(name).name != name or name in (".", ".."):
        raise UsageError(f"--name {name}: a plain name, without folders.")
    run, number = out / name, 2
    while run.exists():
        if not numbered:
            raise UsageError(f"{run} exists. Go on with --resume {run}, or choose another --name.")
        run, number = out / f"{name}-{number}", number + 1
    return run
