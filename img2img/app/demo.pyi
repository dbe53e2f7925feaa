"""The page in the browser: drop a picture in, see its translation."""

import re
import secrets
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import numpy as np

from img2img import images
from img2img.app.models import Models
from img2img.errors import Img2ImgError
from img2img.files import PICTURE_SUFFIXES
from img2img.infer.translator import Translator

MAX_SIDE = 2048  # px; larger pictures are made smaller, so that a phone's photo just works
MAX_DECODED = 64_000_000  # pixels of a file
MAX_FILES = 500  # of the batch tab
MAX_UNPACKED = 512 * 2**20  # bytes of a zip's pictures
SHOWN = 24  # of a batch's results
KEPT = 3600  # seconds that results can be downloaded
DRAWN = ("lineart", "line-art", "sketch", "edges", "drawing")  # in the names of models of drawings
SIDE = 256  # px of the canvas

class OwnFiles:
    """What a component is sent are files that were uploaded; it fetches no address."""

    async def async_move_resource_to_block_cache(self, url_or_file_path):
        if url_or_file_path and "://" in str(url_or_file_path):
            raise gr.Error("Addresses are not fetched here: upload the picture itself.")
        return await super().async_move_resource_to_block_cache(url_or_file_path)

class PictureInput(OwnFiles, gr.Image):
    from collections.abc import Callable, Sequence
    from typing import TYPE_CHECKING, Any, Literal

    from gradio.blocks import Block

    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component

class FilesInput(OwnFiles, gr.File):
    from collections.abc import Callable, Sequence
    from typing import TYPE_CHECKING, Any, Literal

    from gradio.blocks import Block

    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component

class Canvas(OwnFiles, gr.Sketchpad):
    from collections.abc import Callable, Sequence
    from typing import TYPE_CHECKING, Any, Literal

    from gradio.blocks import Block

    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component

@dataclass(frozen=True)
class Choice:
    """What a visitor chose."""

    translator: Translator
    to: str | list[str] | None

    @property
    def title(self) -> str:
        domain = [self.to] if isinstance(self.to, str) else (self.to or [])
        return "-".join([self.translator.manifest.name, *map(str, domain)])

class Demo:
    """The models, and the folder that results are downloaded from."""

    def __init__(self, models: Models, folder: Path):
        self.models, self.folder = models, folder
        self.ways: dict[str, dict[str, str]] = {}  # what is offered -> direction -> model
        for name in models.names:
            base, _, way = name.rpartition("-")
            paired = way in ("ab", "ba") and {f"{base}-ab", f"{base}-ba"} <= set(models.names)
            self.ways.setdefault(base if paired else name, {})[way if paired else ""] = name

    def choose(self, title: str, way: str | None, domain: str | None, several: list[str]) -> Choice:
        ways = self.ways.get(title) or {}
        name = ways.get(way or "") or next(iter(ways.values()), title)
        translator = self.models.get(name)
        sets = translator.manifest.labels.sets
        if not sets:
            return Choice(translator, None)
        if any(labelled.kind == "attributes" for labelled in sets):
            return Choice(translator, several or [])
        return Choice(translator, domain or translator.manifest.labels.names[0])

    def read(self, path: str | Path, choice: Choice) -> images.Picture:
        """A visitor's file through our own decoder."""
        channels = choice.translator.manifest.in_channels
        return images.shrink(images.read(Path(path), channels, MAX_DECODED), MAX_SIDE)

    def save(self, picture: images.Picture, source: str, title: str) -> Path:
        """The result as a lossless file to download, named after the picture and the model."""
        self.tidy()
        folder = self.folder / secrets.token_hex(8)
        folder.mkdir()
        path = folder / f"{plain(Path(source).stem)}-{plain(title)}.png"
        path.write_bytes(images.encode(picture, ".png"))
        return path

    def tidy(self) -> None:
        """Delete what is too old to be downloaded."""
        for path in self.folder.iterdir():
            if time.time() - path.stat().st_mtime > KEPT:
                for file in path.iterdir():
                    file.unlink(missing_ok=True)
                path.rmdir()

    def translate(self, path, title, way, domain, several):
        """For the first tab: before and after, the file, and what it took."""
        if not path:
            return None, gr.update(visible=False), ""
        choice = self.choose(title, way, domain, several)
        picture = self.read(path, choice)
        began = time.perf_counter()
        result = choice.translator(picture.pixels, choice.to)
        took = time.perf_counter() - began
        height, width = result.shape[:2]
        notes = "".join(f"; {note}" for note in picture.notes)
        saved = self.save(images.Picture(result, picture.alpha), path, choice.title)
        said = f"{width}x{height} in {1000 * took:.0f} ms on {choice.translator.provider}{notes}"
        return (
            (colour(picture.pixels), colour(result)),
            gr.update(value=str(saved), visible=True),
            said,
        )

    def everywhere(self, path, title, way):
        """The picture in every domain."""
        if not path:
            raise gr.Error("Drop a picture in first.")
        choice = self.choose(title, way, None, [])
        picture = self.read(path, choice)
        names = choice.translator.manifest.labels.names
        return [(colour(choice.translator(picture.pixels, name)), name) for name in names]

    def draw(self, drawing, title):
        """What the model makes of a drawing, black on white."""
        if drawing is None or drawing["composite"] is None:
            return None
        choice = self.choose(title, None, None, [])
        composite = drawing["composite"]
        alpha = composite[..., 3:] / 255
        white = (composite[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
        side = choice.translator.manifest.trained_size
        small = images.resize(white, side, side)
        channels = choice.translator.manifest.in_channels
        return colour(choice.translator(np.ascontiguousarray(small[..., :channels]), choice.to))

    def batch(self, paths, title, way, domain, several, progress=gr.Progress()):  # noqa: B008
        """Many pictures into a zip; what fails is told and costs the others nothing."""
        if not paths:
            raise gr.Error("Choose some pictures, or a zip of them.")
        choice = self.choose(title, way, domain, several)
        self.tidy()
        folder = self.folder / secrets.token_hex(8)
        folder.mkdir()
        target, shown, failed, done = folder / f"{plain(choice.title)}.zip", [], [], 0
        found = list(members([Path(path) for path in paths]))
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as file:  # PNG is compressed
            for number, (name, read) in enumerate(progress.tqdm(found, unit="pictures")):
                try:
                    picture = images.shrink(
                        images.read(read(), choice.translator.manifest.in_channels, MAX_DECODED),
                        MAX_SIDE,
                    )
                    result = choice.translator(picture.pixels, choice.to)
                # A damaged or encrypted member is the zip's own affair.
                except (Img2ImgError, OSError, RuntimeError, zipfile.BadZipFile) as error:
                    failed.append(f"- {name}: {error}")
                    continue
                answer = images.Picture(result, picture.alpha)
                file.writestr(f"{number + 1:04d}-{plain(name)}.png", images.encode(answer, ".png"))
                done += 1
                if len(shown) < SHOWN:
                    shown.append((colour(result), name))
        said = f"{done} translated, {len(failed)} failed."
        return (
            shown,
            gr.update(value=str(target), visible=done > 0),
            "\n".join([said, *failed[:20]]),
        )

    def card(self, title: str, way: str | None) -> str:
        manifest = self.choose(title, way, None, []).translator.manifest
        lines = [
            f"### {manifest.name}",
            f"{manifest.method}, trained at {manifest.trained_size} px for {manifest.step:,} steps",
            f"Licence: {manifest.licence or 'not stated'}",
        ]
        data = ", ".join(f"{k} {v}" for k, v in manifest.data.items() if not isinstance(v, dict))
        lines += [f"Data: {data}"] if data else []
        lines += [f"{name}: {value:.4g}" for name, value in list(manifest.metrics.items())[:6]]
        return "\n\n".join(lines)

def plain(text: str) -> str:
    """A visitor's name as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:40] or "picture"

def colour(pixels: np.ndarray) -> np.ndarray:
    """uint8 [H, W, C] as the page shows it: three channels or four."""
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels

def members(paths: list[Path]) -> Iterator[tuple[str, object]]:
    """Names and readers of the pictures in files and zips; raises DataError for too many."""
    count, unpacked = 0, 0
    for path in paths:
        if path.suffix.lower() != ".zip":
            found = [(path.stem, path.read_bytes)]
        else:
            try:
                archive = zipfile.ZipFile(path)
            except zipfile.BadZipFile:
                raise gr.Error(f"{path.name} is no zip file that can be read.") from None
            inside = [
                info
                for info in archive.infolist()
                if Path(info.filename).suffix.lower() in PICTURE_SUFFIXES and not info.is_dir()
            ]
            unpacked += sum(info.file_size for info in inside)
            found = [
                (Path(info.filename).stem, lambda a=archive, i=info: a.read(i)) for info in inside
            ]
        count += len(found)
        if count > MAX_FILES or unpacked > MAX_UNPACKED:
            raise gr.Error(
                f"At most {MAX_FILES} pictures and {MAX_UNPACKED // 2**20} MB at once. "
                "`img2img translate` takes any number."
            )
        yield from found
