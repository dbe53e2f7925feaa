"""Checks of what visitors send to the demo, which accepts uploaded files and nothing else."""

import contextlib
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import gradio as gr
from gradio.data_classes import FileData, ImageData, ListFiles
from gradio.utils import get_upload_folder
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import img2img.app.mended  # noqa: F401
from img2img import rasters
from img2img.files import SIGNATURE_BYTES, PassedOver, is_hidden, is_picture_name, split_suffix

MAX_FILES = 500  # of a batch
MAX_LISTED = 10 * MAX_FILES  # files of any kind in a zip
MAX_UNPACKED = 512 * 2**20  # bytes of a zip's pictures
MAX_JSON = 2**20  # bytes of a body other than an upload
ABANDONED = 300.0  # seconds without a byte of an upload
MAX_STORED = 2 * 2**30  # bytes of all visitors' files together
# The routes that the page uses. Gradio has others, which run ffmpeg on videos, fetch URLs, call
# functions without the queue, or contact other servers.
ROUTES = (
    "/assets/",
    "/static/",
    "/config",
    "/theme.css",
    "/favicon.ico",
    "/manifest.json",
    "/login",
    "/logout",
    "/gradio_api/assets/",
    "/gradio_api/static/",
    "/gradio_api/info",
    "/gradio_api/queue/",
    "/gradio_api/upload",
    "/gradio_api/file=",
    "/gradio_api/heartbeat/",
    "/gradio_api/startup-events",
    "/gradio_api/cancel",
    "/gradio_api/reset",
    "/gradio_api/app_id",
)


def uploaded(path: str) -> str:
    """The path, if it is that of an upload. Raises gr.Error for any other."""
    folder = Path(get_upload_folder()).resolve()
    if not Path(path).resolve().is_relative_to(folder):
        raise gr.Error("Only uploaded files are translated.")
    return path


class UploadedPicture(gr.Image):
    """An upload's path, unopened: gr.Image would open the file with any of Pillow's decoders."""

    is_template = True  # looks like gr.Image

    def preprocess(self, payload: ImageData | None) -> str | None:
        return uploaded(payload.path) if payload and payload.path else None


class UploadedFiles(gr.File):
    """The paths of uploads, unopened."""

    is_template = True

    def preprocess(self, payload: ListFiles | FileData | None) -> list[str] | None:
        if payload is None:
            return None
        files = payload.root if isinstance(payload, ListFiles) else [payload]
        return [uploaded(file.path) for file in files]


class UploadedFile(gr.File):
    """The path of one upload, unopened."""

    is_template = True  # of a component of Gradio itself: not of UploadedFiles

    def preprocess(self, payload: ListFiles | FileData | None) -> str | None:
        files = payload.root if isinstance(payload, ListFiles) else [payload]
        return uploaded(files[0].path) if files and files[0] else None


class ChosenDomain(gr.Radio):
    """The chosen name. gr.Radio would refuse a name that only the previous model has, which a call
    that waits in the queue may contain.
    """

    is_template = True

    def preprocess(self, payload: object) -> str | None:
        return payload if isinstance(payload, str) else None


class ChosenAttributes(gr.CheckboxGroup):
    """The chosen names, for the same reason as in `ChosenDomain`."""

    is_template = True

    def preprocess(self, payload: object) -> list[str | int | float]:
        names = payload if isinstance(payload, list) else []
        return [name for name in names if isinstance(name, str)]


def members(
    paths: list[Path], passed_over: PassedOver, values: bool = False
) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Names and readers of the pictures in files and zips.

    passed_over: receives the other files in zips. values: whether files of values are pictures,
    too. Raises gr.Error for too many files, and for a
    broken zip; a reader raises for a damaged member.
    """
    count, unpacked = 0, 0
    pictures: list[tuple[str, Callable[[], bytes]]]
    for path in dict.fromkeys(paths):
        if path.suffix.lower() != ".zip":
            pictures = [(split_suffix(path.name)[0], path.read_bytes)]
        else:
            try:
                archive = zipfile.ZipFile(path)
            except Exception:  # of hostile bytes, almost any
                raise gr.Error(f"{path.name} is not a readable zip file.") from None
            if len(archive.infolist()) > MAX_LISTED:
                raise gr.Error(f"{path.name} lists more than {MAX_LISTED:,} files.")
            suffixes = rasters.SUFFIXES if values else ()
            listed = archive.infolist()
            inside = [i for i in listed if _is_picture(archive, i, passed_over, suffixes)]
            unpacked += sum(info.file_size for info in inside)
            pictures = [
                (split_suffix(Path(info.filename).name)[0], partial(_read, archive, info))
                for info in inside
            ]
        count += len(pictures)
        if count > MAX_FILES or unpacked > MAX_UNPACKED:
            raise gr.Error(
                f"At most {MAX_FILES} pictures and {MAX_UNPACKED // 2**20} MB at once. "
                "`img2img translate` has no limit."
            )
        yield from pictures


def _is_picture(
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    passed_over: PassedOver,
    suffixes: tuple[str, ...],
) -> bool:
    """Whether a member is a picture, by its name or its first bytes. Other members are counted.

    suffixes: of files that are pictures beside the usual ones.
    """
    path = PurePosixPath(info.filename)
    # A member may be without a name, for which `is_dir` has no answer.
    if (
        not info.filename
        or info.is_dir()
        or any(is_hidden(part) for part in path.parts if part != "..")
    ):
        return False
    # With other methods, zipfile would unpack all of it before the size is checked.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        passed_over.files["compressed by another method than deflate"] += 1
    elif path.name.lower().endswith(suffixes) or is_picture_name(
        path.name, lambda: _head(archive, info)
    ):
        return True
    else:
        passed_over.files[path.suffix.lower() or "without suffix"] += 1
    return False


def _head(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(info) as file:
            return file.read(SIGNATURE_BYTES)
    except Exception:  # a damaged or encrypted member raises almost any
        return b""


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """The member, up to the size in its header, even if it unpacks to more."""
    with archive.open(info) as file:
        return file.read(info.file_size)


class Guard:
    """Middleware that refuses all requests but the page's own, and those that are too large."""

    def __init__(self, app: ASGIApp, max_upload: int):
        self.app, self.max_upload = app, max_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path, refused, received = scope["path"], None, 0
        upload = path.startswith("/gradio_api/upload")
        if path != "/" and not path.startswith(ROUTES):
            refused = PlainTextResponse("Not available here.", 404)
        elif "://" in path or ":/" in path.partition("file=")[2][:12]:
            refused = PlainTextResponse("URLs are not fetched here.", 403)
        elif upload and scope["method"] == "POST" and stored() > MAX_STORED:
            refused = PlainTextResponse("There is no space left for uploads. Try again later.", 507)
        most = self.max_upload if upload else MAX_JSON
        length = dict(scope["headers"]).get(b"content-length", b"")
        if not refused and length.isdigit() and int(length) > most:
            refused = PlainTextResponse(f"At most {most // 2**20} MB at once.", 413)
        if refused:
            await refused(scope, receive, send)
            return

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:  # as if the visitor had disconnected
                return {"type": "http.disconnect"}
            return message

        # Otherwise each interrupted upload would be a traceback in the log.
        with contextlib.suppress(ClientDisconnect):
            await self.app(scope, counted, send)


def stored() -> int:
    """Bytes of the uploads and results that are not yet deleted.

    Deletes uploads that were interrupted, which Gradio does not: their files lie beside the folders
    of complete ones, and have not been written to for a while.
    """
    total, folder = 0, get_upload_folder()
    for top, _, names in os.walk(folder):
        for name in names:
            path = Path(top, name)
            with contextlib.suppress(
                OSError
            ):  # deleted in the meantime, or, on Windows, still open
                status = path.stat()
                total += status.st_size
                if top == folder and time.time() - status.st_mtime > ABANDONED:
                    path.unlink()
    return total
