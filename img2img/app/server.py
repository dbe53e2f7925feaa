"""uvicorn with the application: one process, or several that share a port."""

import json
import multiprocessing
import os
import signal
import threading
from contextlib import nullcontext
from dataclasses import asdict, dataclass

import uvicorn
from fastapi import FastAPI
from pydantic import TypeAdapter

from img2img.app import connections
from img2img.app.access import Access
from img2img.app.api import Limits, create_app
from img2img.app.models import Models
from img2img.app.ports import require_free
from img2img.errors import Img2ImgError
from img2img.writing import scratch_folder, temporary_folder

SETTINGS = "IMG2IMG_SERVE"  # environment variable with the workers' settings
# Seconds without an answer after which a worker is replaced. On a busy machine, an import can hold
# Python's lock for longer than uvicorn's 5: no worker would ever start.
UNRESPONSIVE = 60


@dataclass(frozen=True)
class Settings:
    """What a worker needs to create the application."""

    models: tuple[str, ...]  # paths or names; empty for all
    provider: str
    precision: str
    threads: int | None  # of a model; None for all cores
    limits: Limits
    access: Access
    root_path: str  # the path at which a proxy offers it

    def load(self) -> Models:
        return Models(self.models, self.provider, self.precision, self.threads)


def run(settings: Settings, port: int, workers: int) -> None:
    """Serve until SIGINT or SIGTERM. Requests that were accepted are finished first."""
    temporary_folder()  # in which large uploads are kept; raises the error where there is none
    host = settings.access.host.strip("[]")
    require_free(host, port)
    app = _app(settings, workers)
    # Not for one process alone, which ends by its signal, and would leave it.
    with scratch_folder() if workers > 1 else nullcontext() as folder:
        if folder:  # where the workers' metrics are collected
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        try:
            uvicorn.run(
                app,
                factory=workers > 1,
                host=host,
                port=port,
                workers=workers,
                timeout_worker_healthcheck=UNRESPONSIVE,
                timeout_graceful_shutdown=int(settings.limits.seconds) + 1,
                server_header=False,
                **connections.settings(),
            )
        except SystemExit as ended:  # uvicorn's exit codes differ from those of img2img
            if ended.code:
                require_free(host, port)  # another program took it in the meantime
                raise Img2ImgError("The server did not start; see the lines above.") from None


def _app(settings: Settings, workers: int) -> FastAPI | str:
    """The application, or, for several workers, the name of the function that creates it in each.
    Errors of the models are raised before a worker starts.
    """
    checked = settings.load()
    checked.get(checked.names[0])
    if workers == 1:
        return create_app(checked, settings.limits, settings.access, settings.root_path)
    os.environ[SETTINGS] = json.dumps(asdict(settings))
    return "img2img.app.server:from_environment"


def from_environment() -> FastAPI:
    """The application of one worker."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    given = json.loads(os.environ[SETTINGS])
    settings = TypeAdapter(Settings).validate_python(given)
    return create_app(settings.load(), settings.limits, settings.access, settings.root_path)


def _end_with_parent() -> None:
    """Wait until the process that started this worker has ended, killed perhaps, and then end, too:
    nobody else would stop this worker, and it has the port.
    """
    if parent := multiprocessing.parent_process():
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
