"""The HTTP API: pictures in, translated pictures out."""

import asyncio
import logging
import math
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import JSONResponse
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.staticfiles import StaticFiles
from swagger_ui_bundle import swagger_ui_path

from img2img import __version__, images
from img2img.app.access import LOCAL, Access, bearer, guards
from img2img.app.batcher import Batcher
from img2img.app.body import read_body
from img2img.app.body_limit import OVERHEAD, LimitBody
from img2img.app.described import ModelInfo, describe
from img2img.app.json_bodies import JsonBodies
from img2img.app.models import Models, NoModel
from img2img.app.openapi import REFUSED, REQUEST_BODY, RESPONSES
from img2img.app.parameters import (
    LARGEST_SIDE,
    Parameters,
    merge,
    require_known,
    sentence,
)
from img2img.app.proxy import AtPath
from img2img.app.values import (
    BYTES,
    MEDIA_TYPES,
    encoded,
    inputs_of,
    pages_of,
    read,
    suffix_of_answer,
)
from img2img.errors import DataError, OutOfMemory, UsageError
from img2img.infer.session import ON_CPU
from img2img.infer.translator import MAX_BATCH, Translator
from img2img.infer.values import Values


@dataclass(frozen=True)
class Limits:
    """Limits of one request, and of the number of requests."""

    max_bytes: int = 16 * 2**20
    max_pixels: int = 2048 * 2048  # of what the model runs
    max_decoded: int = 25_000_000  # pixels of a file before max_side makes it smaller
    seconds: float = 60.0  # from a request's first byte to its answer
    waiting: int = 96  # requests that are read or answered at the same time
    window: float = 0.004  # seconds that a batch waits to fill up


class TooManyRequests(Exception):
    """The limit of concurrent requests is reached."""


@dataclass(frozen=True)
class Answer:
    """A translation as it is sent."""

    content: bytes
    suffix: str  # of the format
    notes: tuple[str, ...]  # on the picture, for example that it was made smaller
    clipped: float | None  # the share of values beyond the model's range; None of a photograph
    seconds: dict[str, float]  # of each stage


class Metrics:
    """The Prometheus metrics of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "img2img_requests", "Translations by model and status.", ["model", "status"],
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "img2img_request_seconds", "From the complete request to the answer.", ["model"],
            registry=self.registry,
        )  # fmt: skip
        self.batches = Histogram(
            "img2img_batch_pictures", "Pictures in one batch.", ["model"],
            buckets=(1, 2, 4, 8), registry=self.registry,
        )  # fmt: skip
        self.waiting = Gauge(
            "img2img_requests_in_progress", "Requests that are accepted and not yet answered.",
            registry=self.registry, multiprocess_mode="livesum",
        )  # fmt: skip

    def text(self) -> bytes:
        """In Prometheus' text format; summed over worker processes."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        all_workers = CollectorRegistry()
        MultiProcessCollector(all_workers)  # type: ignore[no-untyped-call]  # has no annotations
        return generate_latest(all_workers)


class Service:
    """The models and their queues."""

    def __init__(self, models: Models, limits: Limits):
        self.models, self.limits, self.metrics = models, limits, Metrics()
        self.accepted = 0
        self._batchers: dict[str, Batcher] = {}
        # Decoders can't be interrupted. A small pool bounds their memory.
        self._decoders = ThreadPoolExecutor(2)

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """One of the requests that may be here; raises TooManyRequests before anything of it is
        read.
        """
        if self.accepted >= self.limits.waiting:
            raise TooManyRequests
        self.accepted += 1
        self.metrics.waiting.inc()
        try:
            yield
        finally:
            self.accepted -= 1
            self.metrics.waiting.dec()

    def batcher(self, name: str, translator: Translator) -> Batcher:
        if name not in self._batchers:
            batch_sizes = self.metrics.batches.labels(name)

            def run(pixels: list[np.ndarray], domain: np.ndarray | None) -> list[np.ndarray]:
                batch_sizes.observe(len(pixels))
                return translator(pixels, domain)

            # On a CPU, a batch takes as long as its pictures one by one.
            most = 1 if translator.provider in ON_CPU else MAX_BATCH
            self._batchers[name] = Batcher(run, most, self.limits.window)
        return self._batchers[name]

    async def translate(
        self, contents: list[bytes], translator: Translator, name: str, parameters: Parameters
    ) -> Answer:
        """contents: of a file for each input of the model `name`."""
        manifest, loop = translator.manifest, asyncio.get_running_loop()
        domain = translator.domain(parameters.to)
        suffix = await run_in_threadpool(suffix_of_answer, contents[0], manifest, parameters.format)
        began = time.perf_counter()
        source = await loop.run_in_executor(
            self._decoders, self._decode, contents, translator, parameters.max_side
        )
        pages = pages_of(source)
        longest = max(pages[0].shape[:2])
        if longest > images.LONGEST.get(images.WRITERS.get(suffix, ""), sys.maxsize):
            format = suffix.removeprefix(".")
            raise HTTPException(413, f"{longest} px are more than a side of {format} may have.")
        decoded = time.perf_counter()
        batcher = self.batcher(name, translator)
        results = await asyncio.gather(*(batcher(page, domain) for page in pages))
        translated = time.perf_counter()
        maker = f"{translator.sha256} {parameters.to}"
        content, notes = await run_in_threadpool(encoded, source, results, manifest, suffix, maker)
        seconds = {
            "decode": decoded - began,
            "translate": translated - decoded,
            "encode": time.perf_counter() - translated,
        }
        clipped = source.clipped if isinstance(source, Values) else None
        return Answer(content, suffix, (*source.notes, *notes), clipped, seconds)

    def _decode(
        self, contents: list[bytes], translator: Translator, max_side: int | None
    ) -> images.Picture | Values:
        if not translator.manifest.intensity_in:
            return self._photograph(contents[0], translator, max_side)
        if max_side:
            raise HTTPException(400, "`max_side` is for photographs; leave it out.")
        limits = self.limits
        return read(contents, translator.manifest, limits.max_pixels, limits.seconds)

    def _photograph(
        self, content: bytes, translator: Translator, max_side: int | None
    ) -> images.Picture:
        limits = self.limits
        # The model pads both sides to these.
        multiple, least = translator.manifest.size_multiple, translator.manifest.min_size
        side = min(LARGEST_SIDE, math.isqrt(limits.max_pixels)) // multiple * multiple
        hint = f" ?max_side={side} makes it smaller first." if side else ""
        most = max(limits.max_decoded, limits.max_pixels) if max_side else limits.max_pixels
        images.require_bounded(content)
        try:
            with images.open_header(content, max_pixels=sys.maxsize) as header:
                if max_side:  # a JPEG can be decoded at a fraction of its size
                    images.draft(header, content, max_side, most)
                width, height = header.size
            larger = " Only JPEGs with one scan may be larger. Make it smaller first."
            _require_at_most(most, width, height, larger if max_side else hint)
            channels = translator.manifest.in_channels
            picture = images.read(content, channels, most, max_side, to_translate=True)
        except images.TooLarge as error:
            raise HTTPException(413, str(error)) from None
        width, height = picture.pixels.shape[1::-1]
        padded_width, padded_height = (
            max(least, -(-side // multiple) * multiple) for side in (width, height)
        )
        _require_at_most(limits.max_pixels, padded_width, padded_height, hint)
        return picture

    def close(self) -> None:
        for batcher in self._batchers.values():
            batcher.close()
        self._decoders.shutdown(wait=False, cancel_futures=True)


def create_app(
    models: Models, limits: Limits = Limits(), access: Access = LOCAL, root_path: str = ""
) -> FastAPI:
    """The application. /readyz answers 200 once every model is loaded.

    root_path: the path at which a proxy offers it, such as /pictures.
    """
    service = Service(models, limits)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        for name in models.names:
            await run_in_threadpool(models.get, name)
        app.state.ready = True
        yield
        app.state.ready = False
        service.close()

    app = FastAPI(
        title="img2img",
        version=__version__,
        description="Translates pictures with the models that the server was started with.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        middleware=[
            *guards(access),
            Middleware(AtPath, root_path=root_path),
            Middleware(LimitBody, most=limits.max_bytes + OVERHEAD),
            Middleware(JsonBodies),
        ],
    )
    app.openapi_version = "3.0.3"  # the bundled Swagger UI does not support 3.1
    app.state.ready = False
    guarded = [Depends(bearer(access.token))] if access.token else []
    app.mount("/static", StaticFiles(directory=swagger_ui_path), name="static")

    @app.exception_handler(RequestValidationError)
    def refused(_: Request, error: RequestValidationError) -> JSONResponse:
        """One sentence, as for every other error, instead of FastAPI's list."""
        return JSONResponse({"detail": sentence(error)}, 422)

    @app.get("/docs", include_in_schema=False)
    def docs() -> Response:
        """Swagger UI, served from here, so that the browser contacts no other server."""
        return get_swagger_ui_html(
            openapi_url=f"{root_path}/openapi.json",
            title="img2img",
            swagger_js_url=f"{root_path}/static/swagger-ui-bundle.js",
            swagger_css_url=f"{root_path}/static/swagger-ui.css",
            swagger_favicon_url=f"{root_path}/static/favicon-32x32.png",
        )

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", summary="Whether the process is alive.")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", summary="Whether the models are loaded.", responses={503: {}})
    def readyz() -> dict[str, str]:
        if not app.state.ready:
            raise HTTPException(503, "The models are being loaded.")
        return {"status": "ready"}

    @app.get(
        "/metrics",
        summary="Metrics for Prometheus.",
        response_class=Response,
        dependencies=guarded,
    )
    def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get(
        "/v1/models",
        summary="The models to translate with.",
        responses=REFUSED,
        dependencies=guarded,
    )
    def list_models(request: Request) -> list[ModelInfo]:
        require_known(request.query_params, (), "query parameter")
        return [describe(name, models.get(name)) for name in models.names]

    @app.post(
        "/v1/translate",
        summary="Translate a picture.",
        response_class=Response,
        openapi_extra={"requestBody": REQUEST_BODY},
        responses=RESPONSES,
        dependencies=guarded,
    )
    async def translate(request: Request, query: Annotated[Parameters, Query()]) -> Response:
        require_known(request.query_params, Parameters.model_fields, "query parameter")
        name, began, status = query.model or models.names[0], time.perf_counter(), 500
        try:
            with service.admitted():
                async with asyncio.timeout(limits.seconds):
                    body = await read_body(request)
                    parameters = merge(query, body.fields)
                    name = parameters.model or models.names[0]
                    translator = models.get(name)
                    inputs = inputs_of(translator.manifest)
                    contents = body.contents(inputs, limits.max_bytes)
                    answer = await service.translate(contents, translator, name, parameters)
            status = 200
        except Exception as error:
            status, detail = _status_and_detail(error)
            headers = {"Retry-After": "1"} if status == 429 else None
            raise HTTPException(status, detail, headers) from None
        finally:
            label = name if name in models.names else "unknown"
            service.metrics.requests.labels(label, str(status)).inc()
            service.metrics.seconds.labels(label).observe(time.perf_counter() - began)
        timing = ", ".join(
            f"{stage};dur={1000 * duration:.1f}" for stage, duration in answer.seconds.items()
        )
        headers = {"Server-Timing": timing}
        if answer.notes:
            headers["Img2img-Notes"] = "; ".join(answer.notes)
        if answer.clipped is not None:
            headers["Img2img-Clipped"] = f"{answer.clipped:.6g}"
        if translator.manifest.has_values:  # browsers show few of its formats
            file_name = body.file_name(inputs[0]) + answer.suffix
            headers["Content-Disposition"] = f'attachment; filename="{file_name}"'
        media_type = MEDIA_TYPES.get(answer.suffix, BYTES)
        return Response(answer.content, media_type=media_type, headers=headers)

    return app


def _require_at_most(pixels: int, width: int, height: int, hint: str = "") -> None:
    if width * height > pixels:
        raise HTTPException(413, f"{width}x{height} is more than {pixels:,} pixels.{hint}")


def _status_and_detail(error: Exception) -> tuple[int, str]:
    """The HTTP status and the message of an error. One that is unexpected is logged."""
    if isinstance(error, AnyHTTPException):  # starlette's, too, for a form that it can't parse
        return error.status_code, str(error.detail)
    if isinstance(error, DataError):
        too_large = 413 if isinstance(error, images.TooLarge) else 400
        return (404 if isinstance(error, NoModel) else too_large), str(error)
    if isinstance(error, OutOfMemory):
        return 413, str(error)
    if isinstance(error, UsageError):
        return 400, str(error).replace("--to", "?to=")
    if isinstance(error, TooManyRequests):
        return 429, "Too many requests are waiting. Try again in a second."
    if isinstance(error, ClientDisconnect):
        return 499, "The client closed the connection."
    if isinstance(error, TimeoutError):
        return 504, "The request took too long. Send a smaller picture, or try again later."
    logging.getLogger("uvicorn.error").error("A translation failed.", exc_info=error)
    name = type(error).__name__
    return 500, f"The server failed to translate this picture ({name}). Its log has the details."
