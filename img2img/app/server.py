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

SETTINGS = "IMG2IMG_SERVE"  # the environment variable by which workers are told


def run(
    models: list[str], provider: str, limits: Limits, host: str, port: int, workers: int
) -> None:
    """Serve until SIGINT or SIGTERM; what was accepted is finished first."""
    require_free(host, port)
    app = _app(models, provider, limits, workers)
    with tempfile.TemporaryDirectory() as folder:
        if workers > 1:  # their numbers are added up here
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
        except SystemExit as ended:  # uvicorn's own codes mean other things here
            if ended.code:
                require_free(host, port)  # someone else was faster
                raise Img2ImgError("The server did not start: the lines above say why.") from None


def _app(models: list[str], provider: str, limits: Limits, workers: int) -> FastAPI | str:
    """The application, or the name of what makes it in each worker. What is wrong with the models
    is told before anything starts.
    """
    known = Models(models, provider)
    known.get(known.names[0])
    if workers == 1:
        return create_app(known, limits)
    told = {"models": models, "provider": provider, "limits": asdict(limits)}
    os.environ[SETTINGS] = json.dumps(told)
    return "img2img.app.server:from_environment"


def from_environment() -> FastAPI:
    told = json.loads(os.environ[SETTINGS])
    return create_app(Models(told["models"], told["provider"]), Limits(**told["limits"]))
