"""img2img serve: the models over HTTP."""

from typing import Annotated

import typer

from img2img.cli.options import option


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="A bundle, a model or a run by name; repeat. All here."),
    ] = None,
    host: Annotated[str, option("0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    provider: Annotated[
        str, option("auto, cpu, cuda, tensorrt, openvino, coreml or directml.")
    ] = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with all models.")] = 1,
    max_mb: Annotated[int, typer.Option(min=1, help="Of a picture's file.")] = 16,
    max_pixels: Annotated[int, typer.Option(min=64, help="Of a picture that is run.")] = 4_194_304,
    seconds: Annotated[float, typer.Option(min=0.1, help="A request may take.")] = 60.0,
    waiting: Annotated[
        int, typer.Option(min=1, help="Requests that may be in a process at once.")
    ] = 96,
) -> None:
    """Serve models over HTTP: POST a picture to /v1/translate. /docs tells the rest.

    img2img serve -m flat-to-3d
    """
    from img2img.errors import needs_extra

    try:
        from img2img.app.api import Limits
        from img2img.app.server import run
    except ImportError as error:
        raise needs_extra("serve", error) from None
    limits = Limits(
        max_bytes=max_mb * 2**20, max_pixels=max_pixels, seconds=seconds, waiting=waiting
    )
    run(model or [], provider, limits, host, port, workers)
