"""img2img demo: models in the browser."""

from pathlib import Path
from typing import Annotated

import typer

from img2img.cli.options import AllowHost, Cors, Precision, RootPath, Threads, option


def demo(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="A model file, or the name of a model or run; repeatable. Default: all.",
        ),
    ] = None,
    runs: Annotated[Path, option("Folder of the runs to show.")] = Path("runs"),
    host: Annotated[
        str, option("Address to listen on; 0.0.0.0 admits other machines.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Default: the first free port from 7860 on."),
    ] = None,
    provider: Annotated[
        str, option("Where to run: auto, cpu, cuda, tensorrt, openvino, coreml or directml.")
    ] = "auto",
    precision: Precision = "auto",
    share: Annotated[bool, option("Publish the page through Gradio's servers.")] = False,
    auth: Annotated[str | None, option("Require this NAME:PASSWORD; needed for --share.")] = None,
    max_mb: Annotated[int, typer.Option(min=1, help="Largest upload, MB.")] = 64,
    browser: Annotated[bool, option("Open the page in a browser.")] = False,
    threads: Threads = None,
    allow_host: AllowHost = None,
    cors: Cors = None,
    root_path: RootPath = "",
) -> None:
    """Serve a web page that translates pictures.

    img2img demo
    """
    from img2img.app.ports import require_free
    from img2img.errors import UsageError, needs_extra
    from img2img.writing import temporary_folder

    name, colon, password = (auth or "").partition(":")
    if auth and not (name and colon and password):
        raise UsageError("--auth is not of the form NAME:PASSWORD.")
    if share and not auth:
        raise UsageError("--share makes the page public, so it needs --auth NAME:PASSWORD.")
    temporary_folder()  # Gradio needs it, too; raises the error where there is none
    require_free(host.strip("[]"), port or 0)
    try:
        from img2img.app.access import Access
        from img2img.app.page import launch
        from img2img.app.proxy import root_path_of
    except ImportError as error:
        raise needs_extra("demo", error) from None
    from img2img.app.models import Models

    # A shared page has a name of Gradio's, and a password.
    names = ("*",) if share else tuple(allow_host or ())
    access, path = Access(host, names, tuple(cors or ())), root_path_of(root_path)
    models = Models(model or [], provider, precision, threads)
    launch(
        models, runs, access, port, path, share, (name, password) if auth else None, max_mb, browser
    )
