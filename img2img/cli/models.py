"""img2img models: the models that have a name here, and adding one."""

from pathlib import Path
from typing import Annotated

import typer

models = typer.Typer(invoke_without_command=True)


@models.callback()
def list_models(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the models that have a name here, or add one.

    Those that ship come first, then those that were added, those in ./weights, and exports in
    ./runs. Of two with one name, the first is used.

    img2img models add night.onnx
    """
    if context.invoked_subcommand:
        return
    import json

    from img2img.cli import stderr_console, stdout_console
    from img2img.infer import registry

    entries = list(registry.entries())
    if as_json:
        rows = [
            {"name": entry.name, "path": str(entry.path), "sha256": registry.digest(entry.path)}
            for entry in entries
        ]
        print(json.dumps(rows, indent=2))
        return
    from rich.table import Table

    table = Table("name", "MB", "SHA-256", "file", box=None, padding=(0, 2, 0, 0))
    table.columns[3].overflow = "fold"
    for entry in entries:
        size, digest = entry.path.stat().st_size / 1e6, registry.digest(entry.path)
        table.add_row(entry.name, f"{size:.1f}", digest[:16], str(entry.path))
    if entries:
        stdout_console().print(table)
    if not registry.shipped("weights").is_dir():
        stderr_console().print(f"The models that ship are not installed: {registry.MORE}")


@models.command()
def add(
    file: Annotated[Path, typer.Argument(help="A model that `img2img export` made: NAME.onnx.")],
) -> None:
    """Copy a model into your data folder, so that it has a name in all folders.

    Its SHA-256 is kept beside it, and compared whenever the model is used.

    img2img models add night.onnx
    """
    from img2img.cli import stdout_console
    from img2img.errors import DataError
    from img2img.infer import registry, session

    if file.suffix != ".onnx" or not file.is_file():
        raise DataError(f"{file} is not an ONNX file here. Download or export it first.")
    content = session.read(file)
    manifest = session.load(file, "cpu", content=content).manifest
    entry = registry.add(file, content)
    line = f"{entry.name} ({manifest.method}, {manifest.direction}) is now {entry.path}"
    stdout_console().print(line, soft_wrap=True)
