"""img2img train: folders in, a trained translator out."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

# What may follow a switch; --spectral alone is as good as --spectral true.
BOOLEANS = {"true", "false", "yes", "no", "on", "off", "1", "0"}


def _data(text: str) -> Any:
    return typer.Option(help=text, rich_help_panel="Data")


def _run(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="Run")


def _how(text: str) -> Any:
    return typer.Option(help=text, rich_help_panel="Training")


def train(
    context: typer.Context,
    mode: Annotated[str | None, typer.Option(help="pix2pix, cyclegan or stargan.")] = None,
    a: Annotated[Path | None, _data("Folder of inputs.")] = None,
    b: Annotated[Path | None, _data("Folder of what they become.")] = None,
    pairs: Annotated[Path | None, _data("pix2pix: folder of side-by-side a|b images.")] = None,
    direction: Annotated[Literal["ab", "ba"] | None, _data("With --pairs or --data.")] = None,
    data: Annotated[
        list[Path] | None,
        _data(
            "A published data set, with trainA and trainB or with train and test below it; its "
            "test part (else val) is held out. StarGAN: one sub-folder a domain; repeat for "
            "several sets."
        ),
    ] = None,
    attributes: Annotated[
        Path | None, _data("StarGAN: list of the first --data, as CelebA's or CSV.")
    ] = None,
    attribute: Annotated[list[str] | None, _data("A column of that list; repeat.")] = None,
    test_a: Annotated[
        Path | None, _data("Held-out inputs, in place of the test part of --a.")
    ] = None,
    test_b: Annotated[Path | None, _data("Held-out b.")] = None,
    test_pairs: Annotated[Path | None, _data("Held-out pairs.")] = None,
    test_data: Annotated[list[Path] | None, _data("The same for --data.")] = None,
    name: Annotated[str | None, _run("Name of the run; made up by default.")] = None,
    out: Annotated[Path, _run("Where runs go.")] = Path("runs"),
    config: Annotated[Path | None, _run("YAML or JSON: a run's config.json, say.")] = None,
    settings: Annotated[list[str] | None, _run("The same as key=value; repeat.", "--set")] = None,
    resume: Annotated[
        Path | None,
        _run("Go on exactly where this run was; auto: with --name's, or begin it."),
    ] = None,
    list_objectives: Annotated[
        bool, _run("Print the adversarial objectives, with formula and paper; stop.")
    ] = False,
    list_settings: Annotated[
        bool, _run("Print what else can be set with --mode's method, and what it means; stop.")
    ] = False,
    dry_run: Annotated[bool, _run("Check settings and data, print the config, stop.")] = False,
    check: Annotated[bool, _run("Decode every picture before training.")] = True,
    preset: Annotated[
        Literal["paper", "modern"] | None,
        _how("Settings that go together; paper by default. docs/objectives.md compares them."),
    ] = None,
    size: Annotated[int | None, _how("Side of the training crops, px.")] = None,
    resize: Annotated[int | None, _how("Resize to this side first; 0: not.")] = None,
    centre_crop: Annotated[int | None, _how("Before that, cut this square.")] = None,
    batch: Annotated[
        str | None, _how("Pictures (or pairs) a step; auto: as many as fit into memory.")
    ] = None,
    epochs: Annotated[int | None, _how("Passes over the data.")] = None,
    steps: Annotated[int | None, _how("In place of epochs.")] = None,
    max_time: Annotated[str | None, _how("Stop after 90s, 45m, 2h30m; --resume goes on.")] = None,
    precision: Annotated[Literal["auto", "fp32", "bf16"] | None, _how("Of training.")] = None,
    device: Annotated[str | None, _how("auto, cpu, cuda, cuda:1 or mps.")] = None,
    seed: Annotated[int | None, _how("Of every random draw.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that decode.", rich_help_panel="Training", min=0)
    ] = None,
) -> None:
    """Train a translator on folders of pictures.

    img2img train --mode cyclegan --a horses --b zebras

    img2img train --mode cyclegan --data horse2zebra

    Of folders with train and test (or val) below, as published data sets have them, it trains on
    train and holds out test. Every setting of --list-settings is an option: --identity 0,
    --objective hinge, --no-flip.
    """
    from img2img.cli import stderr_console
    from img2img.errors import DataError, Interrupted, UsageError, needs_extra
    from img2img.files import require_utf8

    try:
        from img2img.training.config import RunConfig
        from img2img.training.fit import fit_batch
        from img2img.training.folder import is_begun, new_folder, require_checkpoint
        from img2img.training.loop import train as run_training
        from img2img.training.plan import make_plan, resolve_sources
        from img2img.training.ranks import joined
    except ImportError as error:
        raise needs_extra("train", error) from None

    if list_objectives:
        _show_objectives()
        return
    if list_settings:
        _require_mode({"mode": mode})
        _show_settings(mode, preset or "paper")
        return
    console = stderr_console()
    max_minutes = _minutes(max_time) if max_time else None
    settings = [*(settings or ()), *_as_settings(context.args)] or None
    again = resume is not None and str(resume) == "auto"
    if resume and not again:
        fixed = (mode, a, b, pairs, direction, data, attributes, attribute, config, settings, name)
        fixed += (test_a, test_b, test_pairs, test_data, preset, size, resize, centre_crop, batch)
        if any(value is not None for value in (*fixed, epochs, steps, precision, seed)):
            raise UsageError(
                "--resume takes everything from the run; leave the other options out "
                "(--max-time, --device, --workers and --no-check are fine)."
            )
        run_config, run = _moved(RunConfig.load(resume), device, workers), resume
    else:
        sources = {"a": a, "b": b, "pairs": pairs, "data": data, "attributes": attributes}
        if attribute:
            sources["attribute"] = tuple(attribute)
        if direction:
            sources["swap"] = direction == "ba"
        test = {"a": test_a, "b": test_b, "pairs": test_pairs, "data": test_data}
        method = {"size": size, "resize": resize, "centre_crop": centre_crop}
        if batch not in (None, "auto"):
            method["batch"] = batch
        values = _read(config) if config else {}
        if preset:
            _forget_preset(values, mode or values.get("mode", ""))
        _overlay(
            values,
            {"mode": mode, "preset": preset, "seed": seed, "device": device, "precision": precision}
            | {"workers": workers, "sources": sources, "test": test, "method": method},
        )
        if epochs is not None or steps is not None:
            values["method"] |= {"epochs": epochs, "steps": steps}
        _apply_settings(values, settings or [])
        _require_mode(values)
        if batch == "auto":  # until it is measured
            parts = values["method"].get("accumulate", 1)
            values["method"]["batch"] = 2 * (parts if isinstance(parts, int) else 1)
        values["name"] = name or str(values.get("name") or _name_from(values))
        run, known = None, out / values["name"]
        if again and is_begun(known):
            run, saved = known, RunConfig.load(known)
            if batch == "auto":
                values["method"]["batch"] = saved.method.batch
        run_config = RunConfig.build(values)
        for path in (*run_config.sources.folders(), *run_config.test.folders()):
            require_utf8(path)
        if run:
            if different := saved.differences(resolve_sources(run_config)[0]):
                raise UsageError(
                    f"{run} was started with other settings ({different}). Give them again, or "
                    "choose another --name."
                )
            moving = {"device", "workers", "cache", "compile"}  # where it runs, as given now
            run_config = saved.model_copy(update=run_config.model_dump(include=moving))
    if run is not None:
        require_checkpoint(run)  # before all pictures are looked at
    with joined() as ranks:
        if not ranks.first:
            console.quiet = True
        begins = ranks.from_first(run is None)
        if run is None and not begins:
            raise DataError(f"Not all machines see {known}: they must share the disk it is on.")
        if begins:
            numbered = name is None and not again
            found = str(new_folder(out, run_config.name, numbered)) if ranks.first else ""
            run = Path(ranks.from_first(found))
            run_config = run_config.model_copy(update={"name": run.name})
        plan = make_plan(run_config, console, check and ranks.first)
        if batch == "auto" and begins:
            plan = fit_batch(plan, console, ranks)
        if dry_run:
            if ranks.first:
                print(plan.config.to_json())
            return
        try:
            run_training(plan, run, console, max_minutes, ranks)
        except (UsageError, Interrupted) as error:  # the same for all
            if ranks.first:
                raise
            raise typer.Exit(error.exit_code) from None


def _moved(run_config: Any, device: str | None, workers: int | None) -> Any:
    """The run's config for where it goes on."""
    moved = {"device": device, "workers": workers}
    return run_config.model_copy(
        update={key: value for key, value in moved.items() if value is not None}
    )


def _show_objectives() -> None:
    from rich.console import Console
    from rich.table import Table

    from img2img.methods.objectives import OBJECTIVES

    table = Table("--objective", "D and G minimise", "paper", "comes with")
    for name, objective in OBJECTIVES.items():
        table.add_row(name, objective.formula, objective.paper, objective.needs())
    Console().print(table)
    print("r, f: the logits of a real and a fake picture; s: the sigmoid; h: features of patches")


def _show_settings(mode: str, preset: Literal["paper", "modern"]) -> None:
    from rich.console import Console
    from rich.table import Table

    from img2img.methods import METHODS
    from img2img.methods.config import MethodConfig
    from img2img.training.config import RunConfig

    schema, settings = METHODS[mode].Config, METHODS[mode].presets[preset]
    usual = schema(**settings).flat()
    table = Table("setting", f"in preset {preset}", "what it is")
    for name, (_, field) in schema.spellings(settings).items():
        if name != "labels":  # read from the data
            shared = MethodConfig.model_fields.get(name, field)
            said = field.description or shared.description
            table.add_row(_flag(name), _shown(usual[name]), said)
    table.add_section()
    for name, field in RunConfig.model_fields.items():
        if name in _settable() and not field.is_required():
            table.add_row(_flag(name), _shown(field.default), field.description)
    Console(highlight=False, markup=False).print(table)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _shown(value: Any) -> str:
    """As it is written in YAML."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _settable() -> set[str]:
    """The settings of a run that are not its method's, and need no option of their own."""
    from img2img.training.config import RunConfig

    made = {"method", "sources", "test", "fingerprint", "measured_by", "preset"}
    return set(RunConfig.model_fields) - made


def _as_settings(arguments: list[str]) -> list[str]:
    """Options that `train` itself does not know, `--ema 0.999` or `--no-flip`, as key=value."""
    from img2img.errors import UsageError
    from img2img.methods import METHODS
    from img2img.methods.route import TABLES
    from img2img.training.config import RunConfig

    networks = [table[name] for table in TABLES.values() for name in table.builtin]
    schemas = [RunConfig, *(METHODS[name].Config for name in METHODS.builtin), *networks]
    fields = [item for schema in schemas for item in schema.model_fields.items()]
    switches = {name for name, found in fields if found.annotation in (bool, bool | None)}
    switches |= {f"d_{name}" for name in switches}
    settings, left = [], list(arguments)
    while left:
        argument = left.pop(0)
        if not argument.startswith("--"):
            raise UsageError(f"Unexpected argument {argument}. Folders go to --a, --b, --data.")
        key, equals, value = argument[2:].partition("=")
        if not equals and key.startswith("no-"):
            key, value = key.removeprefix("no-"), "false"
        elif not equals and key.replace("-", "_") in switches:
            value = left.pop(0) if left and left[0].lower() in BOOLEANS else "true"
        elif not equals:
            value = left.pop(0) if left else None
        if value is None or (not equals and value.startswith("--")):
            raise UsageError(f"{argument} needs a value.")
        settings.append(f"{key.replace('-', '_')}={value}")
    return settings


def _minutes(text: str) -> float:
    import re

    from img2img.errors import UsageError

    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    if not found or not text:
        raise UsageError(f"--max-time {text}: write it as 90s, 45m or 2h30m.")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return hours * 60 + minutes + seconds / 60


def _read(path: Path) -> dict[str, Any]:
    import yaml

    from img2img.errors import DataError

    try:
        values = yaml.safe_load(path.read_text())  # JSON is YAML
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"The config {path} can't be read: {error}") from None
    groups = ("method", "sources", "test")
    if not isinstance(values, dict) or not all(
        isinstance(values.get(group, {}), dict) for group in groups
    ):
        raise DataError(f"The config {path} has no settings (expected `key: value` lines).")
    return values


def _forget_preset(values: dict[str, Any], mode: str) -> None:
    """Take what the file's own preset set out of its values, so that another one can set it; what
    the file has of its own stays.
    """
    from img2img.methods import METHODS
    from img2img.methods.route import TABLES

    known = METHODS.get(mode)
    if known is None:
        return
    settings = {**(values.get("method") or {})}
    old = known.Config(**known.presets.get(values.get("preset", "paper"), {}))
    usual, nested = old.flat(), old.model_dump(mode="json")
    for key in {key for preset in known.presets.values() for key in preset}:
        if key in settings and settings[key] == usual[key]:
            del settings[key]
        for kind, name in known.Config.spellings(settings)[key].places:
            inner = settings.get(kind) if kind in TABLES else None
            if isinstance(inner, dict) and name in inner and inner[name] == nested[kind].get(name):
                settings[kind] = {k: value for k, value in inner.items() if k != name}
    values["method"] = settings


def _overlay(values: dict[str, Any], given: dict[str, Any]) -> None:
    """Put what was given over the file's values; given folders replace all of the file's, held-out
    ones of the old data among them.

    What was found in the data goes: the new run may hold out other pictures.
    """
    values.pop("fingerprint", None)
    values.pop("measured_by", None)
    if any(value is not None for value in given["sources"].values()):
        values.pop("test", None)
    for key, value in given.items():
        if isinstance(value, dict):
            inner = {k: v for k, v in value.items() if v is not None}
            kept = {} if inner and key != "method" else values.get(key) or {}
            values[key] = {**kept, **inner}
        elif value is not None:
            values[key] = value


def _apply_settings(values: dict[str, Any], settings: list[str]) -> None:
    """`--set key=value`: a setting of the method, or of the run where the method has none."""
    import difflib

    import yaml

    from img2img.errors import UsageError
    from img2img.methods import METHODS
    from img2img.methods.route import CHOOSING, of_other_networks, rows_of

    method = METHODS.get(values.get("mode", ""))
    preset = method.presets.get(values.get("preset", "paper"), {}) if method else {}
    outer = _settable()
    # What chooses the networks comes first: it decides what else can be set.
    settings = sorted(settings, key=lambda setting: setting.partition("=")[0] not in CHOOSING)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: write it as key=value.")
        given = {**preset, **values["method"]}
        inner = method.Config.spellings(given) if method else {}
        if key not in inner.keys() | outer:
            if method and (reason := of_other_networks(key, rows_of(method.Config, given))):
                raise UsageError(f"--set {setting}: {reason}.")
            near = difflib.get_close_matches(key, inner.keys() | outer, 1)
            hint = f" Did you mean {near[0]}?" if near else " --dry-run prints them all."
            raise UsageError(f"There is no setting {key}.{hint}")
        target = values["method"] if key in inner else values
        try:
            target[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UsageError(f"--set {setting}: the value can't be read.") from None
        if key in ("epochs", "steps"):
            target["steps" if key == "epochs" else "epochs"] = None


def _require_mode(values: dict[str, Any]) -> None:
    from img2img.errors import UsageError
    from img2img.methods import METHODS

    if values.get("mode") not in METHODS:
        given = f"There is no mode {values['mode']}." if values.get("mode") else "Which method?"
        raise UsageError(f"{given} Choose --mode {', '.join(METHODS)}.")


def _name_from(values: dict[str, Any]) -> str:
    sources = values["sources"]
    data = sources.get("data") or ()
    folders = [sources.get(key) for key in ("a", "b", "pairs")]
    folders += [data] if isinstance(data, str) else data
    return "-".join([values["mode"], *(Path(f).resolve().name for f in folders if f)])
