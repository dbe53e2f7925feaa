"""What `train` can print: its methods, objectives and settings."""

from typing import Any


def show_methods() -> None:
    """Every method with the paper it is of, and the folders it takes."""
    from rich.console import Console
    from rich.table import Table

    from img2img.methods import METHODS

    table = Table("--mode", "what it is", "presets")
    for name, method in METHODS.items():
        table.add_row(name, (method.__doc__ or "").partition("\n")[0], "paper, modern")
    Console(highlight=False, markup=False).print(table)


def show_objectives() -> None:
    """Every adversarial objective with its formula, its paper and what comes with it."""
    from rich.console import Console
    from rich.table import Table

    from img2img.methods.objectives import OBJECTIVES

    table = Table("--objective", "what D and G minimize", "paper", "comes with")
    for name, objective in OBJECTIVES.items():
        table.add_row(name, objective.formula, objective.paper, objective.needs())
    Console().print(table)
    print(
        "r, f: the logits of a real and of a generated picture; s: the sigmoid; h: the features of "
        "patches"
    )


def show_settings(mode: str, preset: str) -> None:
    """Every setting of the method and of a run, with its value in the preset and what it means."""
    from rich.console import Console
    from rich.table import Table

    from img2img.methods.base import MethodConfig
    from img2img.training.config import RunConfig, flat, option
    from img2img.training.settings import settings_of

    usual = RunConfig.build({"name": "x", "mode": mode, "preset": preset, "sources": {}})
    values = {**usual.model_dump(mode="json"), **flat(usual.method.model_dump(mode="json"))}
    table = Table("setting", f"in preset {preset}", "what it is")
    in_method = True
    for name, setting in settings_of(mode).items():
        if in_method and setting.of_run:
            table.add_section()
            in_method = False
        if not setting.field.is_required():
            shared = MethodConfig.model_fields.get(name, setting.field)
            meaning = setting.field.description or shared.description
            table.add_row(option(name), _shown(values[name]), meaning)
    Console(highlight=False, markup=False).print(table)


def _shown(value: Any) -> str:
    """As an option takes it: nothing for none, commas between several."""
    if value is None:
        return ""
    if isinstance(value, list):
        return ",".join(map(_shown, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
