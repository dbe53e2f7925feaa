"""Patches of Gradio. To be imported before any component is created."""

import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import uvicorn
from gradio import component_meta, http_server, processing_utils, routes
from gradio.blocks import Block
from PIL import Image
from starlette.types import ASGIApp, Receive, Scope, Send

from img2img.app import connections
from img2img.writing import scratch_folder

_move = Block.async_move_resource_to_block_cache
_save = processing_utils.save_pil_to_cache


async def own_files(self: Block, url_or_file_path: str | Path | None) -> str | None:
    """Refuse URLs: Gradio would fetch any that a request names, for every component."""
    if url_or_file_path and "://" in str(url_or_file_path):
        raise gr.Error("Addresses are not fetched here: upload the picture itself.")
    return await _move(self, url_or_file_path)


def save_whole(img: Image.Image, cache_dir: str, name: str = "image", format: str = "webp") -> str:
    """Write a cached file once, elsewhere, and move it into place.

    Gradio names files by their content, and writes an existing one again, even while it is sent to
    another visitor, who would receive a part of it.
    """
    Path(cache_dir).mkdir(parents=True, exist_ok=True)
    with scratch_folder(Path(cache_dir)) as folder:
        written = Path(_save(img, str(folder), name, format))
        path = Path(cache_dir, written.parent.name, written.name).resolve()
        path.parent.mkdir(exist_ok=True)
        if path.exists():
            os.utime(path)  # delete_cache looks at its age
        else:
            os.replace(written, path)
    return str(path)


class NoCors:
    """In place of Gradio's middleware, which lets almost every page read answers with the visitor's
    cookies. `Gate` and Starlette's CORSMiddleware, both within it, decide instead.
    """

    def __init__(self, app: ASGIApp, **_: object):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


Block.async_move_resource_to_block_cache = own_files  # type: ignore[method-assign]  # a patch
processing_utils.save_pil_to_cache = save_whole
routes.CustomCORSMiddleware = NoCors  # type: ignore[attr-defined, assignment]  # a patch
# Gradio offers no way to choose uvicorn's settings.
http_server.uvicorn = SimpleNamespace(  # type: ignore[attr-defined, assignment]  # a patch
    Config=partial(uvicorn.Config, **connections.settings())
)
component_meta.create_or_modify_pyi = lambda *_: None  # it would write files beside the source
