"""img2img serve: models over HTTP."""

from typing import Annotated

import typer

from img2img.cli.options import AllowHost, Cors, Precision, RootPath, Threads, option


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="A model file, or the name of a model or run; repeatable. Default: all.",
        ),
    ] = None,
    host: Annotated[
        str, option("Address to listen on; 0.0.0.0 admits other machines.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 chooses a free port.")] = 8000,
    provider: Annotated[
        str, option("Where to run: auto, cpu, cuda, tensorrt, openvino, coreml or directml.")
    ] = "auto",
    precision: Precision = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Processes; each loads all models.")] = 1,
    max_mb: Annotated[int, typer.Option(min=1, help="Largest picture file, MB.")] = 16,
    max_pixels: Annotated[
        int, typer.Option(min=64, help="Most pixels that a model runs.")
    ] = 4_194_304,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time limit of a request.")] = 60.0,
    waiting: Annotated[
        int, typer.Option(min=1, help="Most requests in one process at a time.")
    ] = 96,
    threads: Threads = None,
    allow_host: AllowHost = None,
    cors: Cors = None,
    root_path: RootPath = "",
    token: Annotated[
        str | None,
        typer.Option(
            envvar="IMG2IMG_TOKEN",
            help="Requests need `Authorization: Bearer TOKEN`; other users of this machine can "
            "read the option, but not the variable.",
        ),
    ] = None,
) -> None:
    """Serve models over HTTP: POST a picture to /v1/translate. The API is documented at /docs.

    img2img serve -m flat-to-3d
    """
    from img2img.errors import needs_extra

    try:
        from img2img.app.access import Access
        from img2img.app.api import Limits
        from img2img.app.proxy import root_path_of
        from img2img.app.server import Settings, run
    except ImportError as error:
        raise needs_extra("serve", error) from None
    limits = Limits(
        max_bytes=max_mb * 2**20, max_pixels=max_pixels, seconds=seconds, waiting=waiting
    )
    access = Access(host, tuple(allow_host or ()), tuple(cors or ()), token)
    path = root_path_of(root_path)
    models = tuple(model or ())
    run(Settings(models, provider, precision, threads, limits, access, path), port, workers)
