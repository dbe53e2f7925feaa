"""img2img demo: the models in a browser."""

from pathlib import Path
from typing import Annotated

import typer

from img2img.cli.options import option


def demo(
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="A bundle, a model or a run by name; repeat. All here."),
    ] = None,
    runs: Annotated[Path, option("Where runs are, for the tab that shows them.")] = Path("runs"),
    host: Annotated[str, option("0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="A free one from 7860.")
    ] = None,
    provider: Annotated[
        str, option("auto, cpu, cuda, tensorrt, openvino, coreml or directml.")
    ] = "auto",
    share: Annotated[bool, option("A public address, through Gradio's servers.")] = False,
    auth: Annotated[str | None, option("NAME:PASSWORD; --share needs it.")] = None,
    max_mb: Annotated[int, typer.Option(min=1, help="Of an uploaded file.")] = 64,
    browser: Annotated[bool, option("Open the page.")] = False,
) -> None:
    """Open a page: drop a picture in, see its translation.

    img2img demo
    """
    from img2img.app.ports import require_free
    from img2img.errors import UsageError, needs_extra

    name, colon, password = (auth or "").partition(":")
    if auth and not (name and colon and password):
        raise UsageError("--auth: write it as NAME:PASSWORD.")
    if share and not auth:
        raise UsageError("--share lets anyone in who finds the address: give --auth NAME:PASSWORD.")
    require_free(host.strip("[]"), port or 0)
    try:
        from img2img.app.page import launch
    except ImportError as error:
        raise needs_extra("demo", error) from None
    from img2img.app.models import Models

    models = Models(model or [], provider)
    launch(models, runs, host, port, share, (name, password) if auth else None, max_mb, browser)
