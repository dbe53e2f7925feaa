"""uvicorn with the application: one process, or several that share a port."""

import json
import os
import tempfile
from dataclasses import asdict

import uvicorn
from fastapi import FastAPI

from img2img.app.api import Limits, create_app
from img2img.app.models import Models
from img2img.app.ports import require_free
from img2img.errors import Img2ImgError

SETTINGS = "IMG2IMG_SERVE"  # environment variable with the workers' settings


def run(
    models: list[str],
    provider: str,
    precision: str,
    limits: Limits,
    host: str,
    port: int,
    workers: int,
) -> None:
    """Serve until SIGINT or SIGTERM. Requests that were accepted are finished first."""
    require_free(host, port)
    app = _app(models, provider, precision, limits, workers)
    with tempfile.TemporaryDirectory() as folder:
        if workers > 1:  # where the workers' metrics are collected
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        try:
            uvicorn.run(
                app,
                factory=workers > 1,
                host=host,
                port=port,
                workers=workers,
                timeout_graceful_shutdown=int(limits.seconds) + 1,
                timeout_keep_alive=10,
                limit_concurrency=None,
                server_header=False,
            )
        except SystemExit as ended:  # uvicorn's exit codes differ from those of img2img
            if ended.code:
                require_free(host, port)  # another program took it in the meantime
                raise Img2ImgError("The server did not start; see the lines above.") from None


def _app(
    models: list[str], provider: str, precision: str, limits: Limits, workers: int
) -> FastAPI | str:
    """The application, or, for several workers, the name of the function that creates it in each.
    Errors of the models are raised before a worker starts.
    """
    checked = Models(models, provider, precision)
    checked.get(checked.names[0])
    if workers == 1:
        return create_app(checked, limits)
    chosen = {"models": models, "provider": provider, "precision": precision}
    settings = {**chosen, "limits": asdict(limits)}
    os.environ[SETTINGS] = json.dumps(settings)
    return "img2img.app.server:from_environment"


def from_environment() -> FastAPI:
    """The application of one worker."""
    settings = json.loads(os.environ[SETTINGS])
    models = Models(settings["models"], settings["provider"], settings["precision"])
    return create_app(models, Limits(**settings["limits"]))
