"""What the demo page does with a visitor's pictures: decode, translate, and offer the results."""

import contextlib
import re
import secrets
import shutil
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from img2img import images
from img2img.app.canvas import drawn
from img2img.app.models import Models
from img2img.app.uploads import MAX_STORED, members, stored
from img2img.errors import DataError, Img2ImgError
from img2img.files import PassedOver
from img2img.infer.translator import Translator

Update = dict[str, Any]  # Gradio's change of a component
Shown = tuple[Any, Update, str]  # a value for the picture, the download button, a message

MAX_SIDE = 2048  # px; larger pictures are made smaller, so that a phone's photo just works
MAX_DECODED = 25_000_000  # pixels of a file: what cameras and phones make
MAX_SECONDS = 600.0  # of a batch: others wait
MAX_ZIP = 2**29  # bytes of its results
SHOWN = 24  # of a batch's results
EMPTY: Shown = (None, gr.update(visible=False), "")  # no picture, no download, no message
KEPT = 3600  # seconds for which results can be downloaded


@dataclass(frozen=True)
class Choice:
    """The model and the domain or attributes that a visitor chose."""

    name: str
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
        self.ways: dict[str, dict[str, str]] = {}  # title -> direction -> model
        for name in models.names:
            base, _, way = name.rpartition("-")
            paired = way in ("ab", "ba") and {f"{base}-ab", f"{base}-ba"} <= set(models.names)
            self.ways.setdefault(base if paired else name, {})[way if paired else ""] = name

    def choose(self, title: str, way: str | None, domain: str | None, several: list[str]) -> Choice:
        ways = self.ways.get(title) or {}
        name = ways.get(way or "") or next(iter(ways.values()), title)
        translator = self.models.get(name)
        labels = translator.manifest.labels
        classes, attributes = labels.of_kind("classes"), labels.of_kind("attributes")
        # The choice may still be one that was made for another model.
        ticked = [name for name in several or () if name in attributes]
        if ticked or not classes:
            return Choice(name, translator, ticked if attributes else None)
        return Choice(name, translator, domain if domain in classes else classes[0])

    def read(self, path: str | Path, choice: Choice) -> images.Picture:
        """A visitor's file, decoded by img2img and not by Gradio."""
        try:
            content = Path(path).read_bytes()
        except FileNotFoundError:
            raise DataError("The picture was deleted in the meantime. Drop it in again.") from None
        return self.decode(content, choice)

    def decode(self, content: bytes, choice: Choice) -> images.Picture:
        channels = choice.translator.manifest.in_channels
        images.require_bounded(content)
        return images.read(content, channels, MAX_DECODED, MAX_SIDE, to_translate=True)

    def save(self, picture: images.Picture, source: str, title: str) -> Path:
        """The result as a lossless file to download, named after the picture and the model."""
        path = self.new_folder() / f"{plain(Path(source).stem)}-{plain(title)}.png"
        path.write_bytes(images.encode(picture, ".png"))
        return path

    def new_folder(self) -> Path:
        """A folder for one result, with a name that nobody can guess.

        Deletes results that are older than KEPT. Raises DataError where visitors' files take too
        much space.
        """
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another visitor was faster
                if time.time() - path.stat().st_mtime > KEPT:
                    shutil.rmtree(path, ignore_errors=True)
        if stored() > MAX_STORED:
            raise DataError("There is no space left for results. Try again later.")
        folder = self.folder / secrets.token_hex(8)
        folder.mkdir()
        return folder

    def translate(
        self, path: str | None, title: str, way: str | None, domain: str | None, several: list[str]
    ) -> Shown:
        """For the first tab: before and after, the file, and how long it took."""
        if not path:
            return EMPTY
        choice = self.choose(title, way, domain, several)
        picture = self.read(path, choice)
        result, download, message = self._translated(picture, path, choice)
        # Before and after on one background, where there is transparency.
        return (colour(images.on_white(picture)), result), download, message

    def draw(
        self,
        drawing: str | None,
        title: str,
        way: str | None,
        domain: str | None,
        several: list[str],
    ) -> Shown:
        """For the canvas: the translation of the drawing, resized to the model's training size; the
        file; and how long it took.
        """
        if not drawing:
            return EMPTY
        choice = self.choose(title, way, domain, several)
        picture = self.decode(drawn(drawing), choice)
        small = images.shrink(picture, max(choice.translator.manifest.trained_size))
        return self._translated(images.Picture(images.on_white(small)), "drawing", choice)

    def _translated(self, picture: images.Picture, source: str, choice: Choice) -> Shown:
        began = time.perf_counter()
        result = choice.translator(picture.pixels, choice.to)
        took = time.perf_counter() - began
        height, width = result.shape[:2]
        notes = "".join(f"; {note}" for note in picture.notes)
        answer = _answer(picture, result)
        saved = str(self.save(answer, source, choice.title))
        message = f"{width}x{height} in {1000 * took:.0f} ms on {choice.translator.provider}{notes}"
        shown = saved if picture.alpha is None else colour(images.on_white(answer))
        return shown, gr.update(value=saved, visible=True), message

    def all_domains(
        self, path: str | None, title: str, way: str | None
    ) -> Iterator[list[tuple[np.ndarray, str]] | Update]:
        """The picture in every domain.

        Yields an update that changes nothing before each domain, so that Gradio can stop between
        two of them, and all pictures at the end.
        """
        if not path:
            raise gr.Error("Drop a picture in first.")
        choice = self.choose(title, way, None, [])
        picture = self.read(path, choice)
        shown: list[tuple[np.ndarray, str]] = []
        for name in choice.translator.manifest.labels.names:
            yield gr.skip()
            answer = _answer(picture, choice.translator(picture.pixels, name))
            shown.append((colour(images.on_white(answer)), name))
        yield shown

    def batch(
        self,
        paths: list[str] | None,
        title: str,
        way: str | None,
        domain: str | None,
        several: list[str],
    ) -> Iterator[Shown]:
        """Many pictures into a zip; failures are reported and do not stop the others.

        Yields what the page shows: the number of each picture before it is translated, and the
        results at the end. Where the visitor has left, Gradio closes the generator between two
        pictures; the zip is deleted then.
        """
        if not paths:
            raise gr.Error("Choose some pictures, or a zip of them.")
        choice = self.choose(title, way, domain, several)
        target = self.new_folder() / f"{plain(choice.title)}.zip"
        shown: list[tuple[np.ndarray, str]] = []
        failed: list[str] = []
        done, left_out = 0, 0
        notes: Counter[str] = Counter()
        passed_over = PassedOver()
        pictures = list(members([Path(path) for path in paths], passed_over))
        began = time.monotonic()
        cleanup = deleted_unless_complete(target.parent)
        # Stored, because PNG is compressed already.
        with cleanup, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as file:
            for number, (name, read) in enumerate(pictures):
                yield None, gr.update(visible=False), f"Picture {number + 1} of {len(pictures)} ..."
                if time.monotonic() - began > MAX_SECONDS or target.stat().st_size > MAX_ZIP:
                    left_out = len(pictures) - number
                    break
                try:
                    content = read()
                except Exception as error:  # a damaged or encrypted member raises almost any
                    failed.append(f"- {name}: it can't be read ({type(error).__name__}).")
                    continue
                try:
                    picture = self.decode(content, choice)
                    result = choice.translator(picture.pixels, choice.to)
                except Img2ImgError as error:
                    failed.append(f"- {name}: {error}")
                    continue
                answer = _answer(picture, result)
                notes.update(note.partition(",")[0] for note in picture.notes)
                file.writestr(f"{number + 1:04d}-{plain(name)}.png", images.encode(answer, ".png"))
                done += 1
                if len(shown) < SHOWN:
                    shown.append((colour(images.on_white(answer)), name))
        more = f" {left_out} left out: too many for one batch here." if left_out else ""
        summary = f"{done} translated, {len(failed)} failed.{more}"
        if str(passed_over):
            summary += f" {passed_over}."
        noted = [f"- {count} of them: {note}." for note, count in notes.items()]
        yield (
            shown,
            gr.update(value=str(target), visible=done > 0),
            "\n".join([summary, *noted, *failed[:20]]),
        )

    def card(self, choice: Choice) -> str:
        manifest = choice.translator.manifest
        lines = [
            f"### {manifest.name}",
            f"{manifest.method}, trained at {manifest.trained_size} px for {manifest.step:,} steps",
            f"Licence: {manifest.licence or 'not stated'}",
        ]
        data = ", ".join(f"{k} {v}" for k, v in manifest.data.items() if k != "fingerprint")
        lines += [f"Weights: {data}"] if data else []
        to = choice.to or manifest.direction
        way = to if isinstance(to, str) else to[0]
        own = f"held_out/{way}/"
        named = any(name.startswith(own) for name in manifest.metrics)  # pix2pix has one way alone
        start, which = (own, f", {way}") if named else ("held_out/", "")
        measured = ", ".join(
            f"{name.removeprefix(start)} {value:.3g}"
            for name, value in manifest.metrics.items()
            if name.startswith(start)
        )
        lines += [f"On held-out pictures{which}: {measured}"] if measured else []
        return "\n\n".join(lines)


@contextlib.contextmanager
def deleted_unless_complete(folder: Path) -> Iterator[None]:
    """Delete the folder where the work in the context is stopped before it is done."""
    try:
        yield
    except BaseException:  # GeneratorExit, too
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _answer(picture: images.Picture, result: np.ndarray) -> images.Picture:
    """The translation as it is downloaded: transparent as the picture is, without its metadata."""
    return replace(picture.translated(result), metadata=images.Metadata())


def plain(text: str) -> str:
    """A visitor's name as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:40] or "picture"


def colour(pixels: np.ndarray) -> np.ndarray:
    """uint8 [H, W, C] as the page shows it: three channels or four."""
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
