"""The lists that `train` prints: methods, objectives and settings."""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from img2img.training.config import RunConfig


def show_methods() -> None:
    """Print every method with its paper and presets, and the names of networks, objectives and data
    layouts. Rows of other packages are shown with their origin, so that nothing is imported.
    """
    from rich.console import Console
    from rich.table import Table

    from img2img.data import LAYOUTS
    from img2img.methods import METHODS
    from img2img.methods.objectives import OBJECTIVES
    from img2img.nets import DISCRIMINATORS, GENERATORS
    from img2img.table import Table as Names

    table = Table("--mode", "description", "presets", "paper")
    for name in METHODS:
        if name not in METHODS.builtin:
            table.add_row(name, f"from {METHODS.origin(name)}", "", "")
            continue
        method = METHODS[name]
        page = sys.modules[method.__module__].__doc__ or ""
        paper = " ".join(page.split("\n\n")[0].split())
        summary = (method.__doc__ or "").partition("\n")[0]
        table.add_row(name, summary, ", ".join(method.presets), paper)
    console = Console(highlight=False, markup=False)
    console.print(table)
    choices: dict[str, Names[Any]] = {
        "--generator": GENERATORS,
        "--discriminator": DISCRIMINATORS,
        "--objective": OBJECTIVES,
        "data layout": LAYOUTS,
    }
    table = Table("what else is chosen by name", "names")
    for kind, rows in choices.items():
        plugins = [f"{name} from {rows.origin(name)}" for name in rows if name not in rows.builtin]
        table.add_row(kind, "\n".join([", ".join(rows.builtin), *plugins]))
    console.print(table)


def show_objectives() -> None:
    """Print every adversarial objective with its formula, its paper and what it is used with; those
    of other packages with their origin.
    """
    from rich.console import Console
    from rich.table import Table

    from img2img.methods.objectives import OBJECTIVES

    table = Table("--objective", "what D and G minimize", "paper", "comes with")
    for name in OBJECTIVES:
        if name in OBJECTIVES.builtin:
            objective = OBJECTIVES[name]
            table.add_row(name, objective.formula, objective.paper, objective.needs())
        else:
            table.add_row(name, f"from {OBJECTIVES.origin(name)}", "", "")
    Console(highlight=False, markup=False).print(table)
    print(
        "r, f: the logits of a real and of a generated picture; s: the sigmoid function; h: the "
        "features of patches"
    )


def show_settings(config: "RunConfig") -> None:
    """Print all settings of the config's method, of its networks and of the run, with their values
    in the config and descriptions.
    """
    from rich.console import Console
    from rich.table import Table

    from img2img.methods.config import MethodConfig
    from img2img.training.config import option
    from img2img.training.settings import settings_of

    values = {**config.model_dump(mode="json"), **config.method.flat()}
    table = Table("setting", f"value ({config.mode}, preset {config.preset})", "description")
    in_method = True
    for name, setting in settings_of(config.mode, config.method.model_dump()).items():
        if in_method and setting.of_run:
            table.add_section()
            in_method = False
        if name == "name":
            continue
        shared = MethodConfig.model_fields.get(name, setting.field)
        meaning = setting.field.description or shared.description
        table.add_row(option(name), shown_value(values[name]), meaning)
    Console(highlight=False, markup=False).print(table)


def shown_value(value: Any) -> str:
    """The value as an option accepts it: empty for None, commas between the items of a list. Groups
    of settings are shown as a file has them.
    """
    if value is None:
        return ""
    if isinstance(value, list):
        return ",".join(map(shown_value, value))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {shown_value(item)}" for key, item in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)
