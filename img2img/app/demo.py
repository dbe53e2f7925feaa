"""What the demo page does with a visitor's pictures: decode, translate, and offer the results."""

import contextlib
import re
import secrets
import shutil
import time
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from img2img import images
from img2img.app.canvas import drawn
from img2img.app.models import Models
from img2img.app.shown import after, before, size_of, values_of
from img2img.app.uploads import MAX_STORED, members, stored
from img2img.app.values import encoded, inputs_of, pages_of, read, suffix_of_answer
from img2img.errors import DataError, Img2ImgError
from img2img.files import PassedOver, split_suffix
from img2img.images import Picture
from img2img.infer.translator import Translator
from img2img.infer.values import Values
from img2img.manifest import Manifest

Update = dict[str, Any]  # Gradio's change of a component
Shown = tuple[Any, Update, str]  # a value for the picture, the download button, a message

MAX_SIDE = 2048  # px; larger pictures are made smaller, so that a phone's photo just works
MAX_DECODED = 25_000_000  # pixels of a file: what cameras and phones make
MAX_VALUES = MAX_SIDE**2  # pixels of a file of values, which is not made smaller
MAX_READING = 60.0  # seconds, of its pages
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
    def manifest(self) -> Manifest:
        return self.translator.manifest

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the files of values that it takes for a picture; none if it takes
        photographs.
        """
        return inputs_of(self.manifest) if self.manifest.intensity_in else ()

    def sent(self, paths: str | Sequence[str | None] | None) -> list[str]:
        """The files for the model's inputs; none while one is missing. paths: of all uploads, of
        which those that are hidden for this model may still have the files for another one.
        """
        count = len(inputs_of(self.manifest))
        several = [paths] if isinstance(paths, str) else list(paths or ())
        given = [path for path in several[:count] if path]
        return given if len(given) == count else []

    def translated(self, source: Picture | Values, to: str | list[str] | None) -> list[np.ndarray]:
        """What the model makes of each page."""
        return [self.translator(page, to) for page in pages_of(source)]

    @property
    def maker(self) -> str:
        """What tells its results from those of other choices."""
        return f"{self.translator.sha256} {self.to}"

    @property
    def title(self) -> str:
        domain = [self.to] if isinstance(self.to, str) else (self.to or [])
        return "-".join([self.manifest.name, *map(str, domain)])


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

    def load(self, path: str | Path) -> bytes:
        """A visitor's file."""
        try:
            return Path(path).read_bytes()
        except FileNotFoundError:
            raise DataError("The picture was deleted in the meantime. Drop it in again.") from None

    def decode(self, contents: Sequence[bytes], choice: Choice) -> Picture | Values:
        """A picture, decoded by img2img and not by Gradio. contents: of a file, or of one for each
        input of the model.
        """
        if choice.inputs:
            return read(contents, choice.manifest, MAX_VALUES, MAX_READING)
        [content] = contents
        images.require_bounded(content)
        channels = choice.manifest.in_channels
        return images.read(content, channels, MAX_DECODED, MAX_SIDE, to_translate=True)

    def save(self, content: bytes, source: str, title: str, suffix: str) -> Path:
        """The result as a file to download, named after the picture and the model."""
        stem = split_suffix(Path(source).name)[0]
        path = self.new_folder() / f"{plain(stem)}-{plain(title)}{suffix}"
        path.write_bytes(content)
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
        self,
        sent: str | Sequence[str | None] | None,
        title: str,
        way: str | None,
        domain: str | None,
        several: list[str],
    ) -> Shown:
        """For the first tab: before and after, the file, and what there is to know about it.

        sent: the path of a photograph, or of a file for each input of a model of values.
        """
        choice = self.choose(title, way, domain, several)
        paths = choice.sent(sent)
        if not paths:
            return EMPTY
        contents = [self.load(path) for path in paths]
        source = self.decode(contents, choice)
        suffix = suffix_of_answer(contents[0], choice.manifest)
        result, download, message = self._translated(source, paths[0], suffix, choice)
        # Before and after on one background, where there is transparency.
        return (color(before(source, choice.manifest)), result), download, message

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
        if choice.inputs:
            raise DataError(f"{choice.title} takes files of values, and no drawings.")
        content = drawn(drawing)
        picture = self.decode([content], choice)
        assert isinstance(picture, Picture)  # as the model takes no values
        small = images.shrink(picture, max(choice.manifest.trained_size))
        suffix = suffix_of_answer(content, choice.manifest)
        return self._translated(Picture(images.on_white(small)), "drawing", suffix, choice)

    def _translated(
        self, source: Picture | Values, name: str, suffix: str, choice: Choice
    ) -> Shown:
        """The result as it is shown, its file, and a message. name: of the sent file."""
        began = time.perf_counter()
        results = choice.translated(source, choice.to)
        took = time.perf_counter() - began
        content, remarks = encoded(source, results, choice.manifest, suffix, choice.maker)
        saved = str(self.save(content, name, choice.title, suffix))
        notes = "".join(f"; {note}" for note in (*source.notes, *remarks))
        size, values = size_of(source, results), values_of(source, results, choice.manifest)
        ran = f"{size} in {1000 * took:.0f} ms on {choice.translator.provider}"
        message = f"{ran}{f'; {values}' if values else ''}{notes}"
        as_it_is = not choice.manifest.has_values and (
            isinstance(source, Picture) and source.alpha is None
        )
        result = saved if as_it_is else color(after(source, results, choice.manifest))
        label = f"Download {suffix.removeprefix('.').upper()}"
        return result, gr.update(value=saved, visible=True, label=label), message

    def all_domains(
        self, sent: str | Sequence[str | None] | None, title: str, way: str | None
    ) -> Iterator[list[tuple[np.ndarray, str]] | Update]:
        """The picture in every domain.

        Yields an update that changes nothing before each domain, so that Gradio can stop between
        two of them, and all pictures at the end.
        """
        choice = self.choose(title, way, None, [])
        paths = choice.sent(sent)
        if not paths:
            raise gr.Error("Drop a picture in first.")
        source = self.decode([self.load(path) for path in paths], choice)
        shown: list[tuple[np.ndarray, str]] = []
        for name in choice.manifest.labels.names:
            yield gr.skip()
            results = choice.translated(source, name)
            shown.append((color(after(source, results, choice.manifest)), name))
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
        if len(choice.inputs) > 1:
            raise gr.Error(
                f"{choice.title} takes a file of each of {', '.join(choice.inputs)}. For many, use "
                "img2img translate."
            )
        target = self.new_folder() / f"{plain(choice.title)}.zip"
        shown: list[tuple[np.ndarray, str]] = []
        failed: list[str] = []
        done, left_out = 0, 0
        notes: Counter[str] = Counter()
        passed_over = PassedOver()
        pictures = list(members([Path(path) for path in paths], passed_over, bool(choice.inputs)))
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
                    source = self.decode([content], choice)
                    suffix = suffix_of_answer(content, choice.manifest)
                    results = choice.translated(source, choice.to)
                    answer, remarks = encoded(
                        source, results, choice.manifest, suffix, choice.maker
                    )
                except Img2ImgError as error:
                    failed.append(f"- {name}: {error}")
                    continue
                notes.update(note.partition(",")[0] for note in (*source.notes, *remarks))
                file.writestr(f"{number + 1:04d}-{plain(name)}{suffix}", answer)
                done += 1
                if len(shown) < SHOWN:
                    shown.append((color(after(source, results, choice.manifest)), name))
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
        manifest = choice.manifest
        lines = [
            f"### {manifest.name}",
            f"{manifest.method}, trained at {manifest.trained_size} px for {manifest.step:,} steps",
            f"Licence: {manifest.licence or 'not stated'}",
        ]
        if manifest.has_values:
            taken, given = (
                intensity.describe() if intensity else "photographs"
                for intensity in (manifest.intensity_in, manifest.intensity_out)
            )
            lines += [f"From {taken}", f"To {given}"]
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


def plain(text: str) -> str:
    """A visitor's name as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:40] or "picture"


def color(pixels: np.ndarray) -> np.ndarray:
    """uint8 [H, W, C] as the page shows it: three channels or four."""
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
