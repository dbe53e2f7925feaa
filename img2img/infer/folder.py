"""Translating many files: decoding, inference and encoding overlap, in bounded memory."""

import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from img2img import images, memory
from img2img.errors import DataError, Img2ImgError, told
from img2img.files import usable_cores
from img2img.images import MAX_PIXELS
from img2img.infer import session
from img2img.infer.item import NO_PIXELS, Item, Reading, read_all, save_all
from img2img.infer.plan import Job
from img2img.infer.record import Record
from img2img.infer.scene import Scene, clear_leftovers
from img2img.infer.scene_translate import translate_scene
from img2img.infer.tilers import Tilers
from img2img.infer.translator import Translator
from img2img.infer.workers import workers
from img2img.remote import is_url
from img2img.writing import sync_folder

Existing = Literal["skip", "replace", "error"]
BATCH_PIXELS = 8 * 512 * 512  # of a batch: larger pictures run in smaller batches
BEGUN_TOGETHER = 64  # outputs that are recorded as begun at a time, because it waits for the disk
REMOTE_THREADS = 8  # for each core, because they wait for answers most of the time
WAITING = 2**29  # bytes of decoded pictures in the queue, and as many in the queue to be saved


@dataclass
class Summary:
    """The result of translating many files."""

    done: int = 0
    skipped: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)  # input, reason
    seconds: float = 0.0
    # Remarks on translated pictures: for each kind, the number of pictures and the first of them.
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add_notes(self, source: str, notes: Sequence[str]) -> None:
        """Count notes by kind: the text before a comma. The rest differs between pictures."""
        for kind in dict.fromkeys(note.partition(",")[0] for note in notes):
            self._count(kind, 1, source)

    def _count(self, kind: str, pictures: int, first: str) -> None:
        counted = self.notes.setdefault(kind, {"pictures": 0, "first": first})
        counted["pictures"] += pictures

    def __add__(self, other: "Summary") -> "Summary":
        total = Summary(
            self.done + other.done,
            self.skipped + other.skipped,
            self.failed + other.failed,
            self.seconds + other.seconds,
        )
        for kind, counted in [*self.notes.items(), *other.notes.items()]:
            total._count(kind, **counted)
        return total


@dataclass(frozen=True)
class Settings:
    """How to translate, apart from the model."""

    to: str | None = None
    quality: int | None = None  # of lossy formats; None: 95, and lossless WebP stays lossless
    max_pixels: int = MAX_PIXELS
    batch: int | None = None
    fail_fast: bool = False
    max_side: int | None = None  # px; larger pictures are made smaller first
    tile: int | None = None  # side, px, of the tiles in which larger pictures run
    norm_tiles: int | None = None  # from which statistics of norms are estimated; None: all

    def fingerprint(self) -> str:
        """A hash of the settings that affect the outputs' pixels."""
        decisive: list[object] = [self.to, images.QUALITY, *filter(None, [self.max_side])]
        decisive += [["quality", self.quality]] if self.quality is not None else []
        decisive += [["tile", self.tile]] if self.tile else []
        decisive += [["norm_tiles", self.norm_tiles]] if self.norm_tiles else []
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:16]


def translate_files(
    translator: Translator,
    jobs: Sequence[Job],
    record: Record | None,
    settings: Settings,
    existing: Existing = "skip",
    progress: Callable[[int], None] = lambda count: None,
    progress_of_scene: Callable[[str, int, int], None] = lambda source, done, total: None,
) -> Summary:
    """Translate every job. Outputs are complete or absent; a second run does what is missing.

    record: of the output folder; None for a single file that the user named. progress: takes a
    number of pictures that are done. progress_of_scene: takes the file of a picture that is
    translated in parts, with the number of steps that are done, and of all. A picture that fails
    is listed in the summary. Raises DataError, before the first picture, where existing files are
    in the way, and UsageError for a wrong domain.
    """
    began, summary = time.monotonic(), Summary()
    domain = translator.domain(settings.to)
    values = translator.manifest.intensity_out
    tilers = Tilers(translator, settings.tile, settings.norm_tiles)
    if settings.tile:
        tilers.of(settings.tile)  # raises the error of a model that can't be tiled
    todo = undone(jobs, record, translator.sha256, settings.fingerprint(), existing)
    summary.skipped = len(jobs) - len(todo)
    remaining = {job.target for job in todo}
    made = (job.target for job in jobs if job.target not in remaining)
    clear_leftovers(target for target in made if not is_url(target))
    progress(summary.skipped)
    maker = f"{translator.sha256} {settings.fingerprint()}"
    on_cpu, cores = translator.provider in session.ON_CPU, usable_cores()
    made_by: dict[str, object] = {"model": translator.sha256, "options": settings.fingerprint()}
    opened = record.opened() if record else nullcontext()
    is_remote = any(job.remote or is_url(job.target) for job in todo)
    count = cores * REMOTE_THREADS if is_remote else cores
    with opened, workers(count, len(todo), on_cpu or is_remote) as (pool, together):

        @contextmanager
        def recording() -> Iterator[None]:
            try:
                yield
            except OSError as error:
                assert record
                raise DataError(
                    f"{record.folder} can't be written {told(error)} {summary.done:,} are done, "
                    f"{len(summary.failed):,} failed. Run the same command to continue."
                ) from None

        def note(item: Item) -> None:
            if record:
                with recording():
                    status = "error" if item.error else "ok"
                    record.finish(item.job, status, item.as_dict() | made_by)

        def begun() -> Iterator[Job]:
            for start in range(0, len(todo), BEGUN_TOGETHER):
                part = todo[start : start + BEGUN_TOGETHER]
                if record:
                    with recording():
                        record.begin(part)
                yield from part

        for job, sources, written in record.moved if record else ():
            note(Item(job, sources=sources, written=written))
        saving: deque[Future[list[Item]]] = deque()

        def settle(limit: int) -> None:
            while len(saving) * together > limit:
                for item in saving.popleft().result():
                    note(item)
                    if item.scene and not item.error:
                        item.scene.finish()
                    if item.error:
                        summary.failed.append((item.job.source, item.error))
                    else:
                        summary.done += 1
                        summary.add_notes(item.job.source, item.picture.notes)
                    progress(1)

        # Pictures that need tiles are large, so only one waits while another runs.
        ahead = _Ahead(1 if settings.tile else 4 * together * count, cores)
        reads = _read_ahead(pool, together, begun(), translator, settings, ahead)
        # A GPU is faster with several pictures at a time; a CPU is not, and one needs less memory.
        batch = settings.batch or (1 if on_cpu else 8)

        def translate(items: list[Item]) -> list[Item]:
            if items[0].is_scene:
                _translate_scene(tilers, items[0], domain, settings, progress_of_scene)
            else:
                _translate(tilers, items, domain)
            return items

        at_once = 2 if translator.provider in session.ON_NVIDIA and not settings.tile else 1
        for items in _in_order(translate, _batched(reads, batch), at_once):
            for start in range(0, len(items), together):
                part = items[start : start + together]
                saving.append(pool.submit(save_all, part, settings.quality, values, maker))
            settle(ahead.allowed)
            if settings.fail_fast and (summary.failed or any(item.error for item in items)):
                break
        settle(0)
        for folder in {os.path.dirname(job.target) for job in todo if not is_url(job.target)}:
            sync_folder(Path(folder))
        if record:
            with recording():
                record.sync()
    summary.seconds = time.monotonic() - began
    return summary


def undone(
    jobs: Sequence[Job], record: Record | None, model: str, options: str, existing: Existing
) -> list[Job]:
    """The jobs that remain. Raises DataError where a file exists that must not be replaced."""
    if existing == "replace":
        return list(jobs)
    if record is None:
        foreign, origin = [job for job in jobs if os.path.exists(job.target)], ""
    elif existing == "error":
        foreign, origin = list(filter(record.exists, jobs)), ""
    else:
        jobs = _not_held(jobs, record, model, options)
        if any(map(record.is_foreign, jobs)):
            record.read()  # another process may have made them meanwhile
        foreign = [job for job in jobs if record.is_foreign(job)]
        origin = ", and were not made by img2img"
    if foreign:
        raise DataError(
            f"{len(foreign)} outputs exist already (first: {foreign[0].target}){origin}. "
            "Choose another folder with -o, or use --existing replace."
        )
    return list(jobs)


def _not_held(jobs: Sequence[Job], record: Record, model: str, options: str) -> list[Job]:
    """The jobs whose output is missing or outdated."""
    held = [record.holds(job, model, options) for job in jobs]
    unsure = [index for index, answer in enumerate(held) if answer is None]
    with ThreadPoolExecutor(usable_cores()) as pool:
        for start in range(0, len(unsure), 1000):  # in parts, to bound memory
            part = unsure[start : start + 1000]
            answers = pool.map(lambda index: record.confirm(jobs[index], model, options), part)
            for index, answer in zip(part, answers, strict=True):
                held[index] = answer
    return [job for job, answer in zip(jobs, held, strict=True) if not answer]


class _Ahead:
    """How many decoded pictures may wait: `most`, or as many of the largest recent ones as fit into
    WAITING.
    """

    def __init__(self, most: int, at_first: int):
        self.most, self.at_first, self.allowed = most, at_first, min(most, at_first)
        self.sizes: deque[int] = deque(maxlen=most)

    def add(self, size: int) -> None:
        """Take the size of a decoded picture, in bytes, into account."""
        self.sizes.append(size)
        self.allowed = max(1, min(self.most, WAITING // max(1, *self.sizes)))


def _read_ahead(
    pool: Executor,
    together: int,
    jobs: Iterable[Job],
    translator: Translator,
    settings: Settings,
    ahead: _Ahead,
) -> Iterator[Item]:
    """Decoded pictures in the order of the jobs, of which no more wait than allowed. together: how
    many are read in one task, once it is known that they are small.
    """
    manifest = translator.manifest
    reading = Reading(
        manifest.in_channels,
        manifest.intensity_in,
        settings.max_pixels,
        settings.max_side,
        in_parts=manifest.reach is not None and not settings.max_side,
    )
    waiting: deque[tuple[int, Future[list[Item]]]] = deque()
    upcoming, awaited = iter(jobs), 0
    while True:
        while awaited < ahead.allowed:
            most = min(together, max(1, ahead.allowed // max(1, ahead.at_first)))
            part = list(islice(upcoming, min(most, ahead.allowed - awaited)))
            if not part:
                break
            waiting.append((len(part), pool.submit(read_all, part, reading)))
            awaited += len(part)
        if not waiting:
            return
        count, read = waiting.popleft()
        for item in read.result():
            ahead.add(item.picture.pixels.nbytes)
            yield item
        awaited -= count


def _in_order(
    translate: Callable[[list[Item]], list[Item]], batches: Iterator[list[Item]], at_once: int
) -> Iterator[list[Item]]:
    """The translated batches in their order, of which `at_once` run at the same time: a GPU
    computes one while another is copied to it or from it.
    """
    if at_once == 1:
        yield from map(translate, batches)
        return
    with ThreadPoolExecutor(at_once) as pool:
        running: deque[Future[list[Item]]] = deque()
        for items in batches:
            running.append(pool.submit(translate, items))
            if len(running) > at_once:
                yield running.popleft().result()
        for done in running:
            yield done.result()


def _batched(items: Iterator[Item], batch: int) -> Iterator[list[Item]]:
    """Groups of pictures of one size, in the order of their first picture. Items that could not be
    read come alone.

    Pictures of a size that does not fill a batch wait, but never more than a few batches of them.
    """
    groups: dict[tuple[int, ...], list[Item]] = {}
    for item in items:
        shape = item.picture.pixels.shape
        if item.error or item.is_scene or len(shape) == 4:  # all pages of a file
            yield [item]
            continue
        group = groups.setdefault(shape, [])
        group.append(item)
        if len(group) >= max(1, min(batch, BATCH_PIXELS // (shape[0] * shape[1]))):
            yield groups.pop(shape)
        elif sum(map(len, groups.values())) > 4 * batch:
            yield groups.pop(next(iter(groups)))
    yield from groups.values()


def _translate_scene(
    tilers: Tilers,
    item: Item,
    domain: np.ndarray | None,
    settings: Settings,
    progress: Callable[[str, int, int], None],
) -> None:
    """Translate a picture in parts, or set the reason why that failed."""
    decisive = [*(source.sha256 for source in item.sources), tilers.translator.sha256]
    key = hashlib.sha256(" ".join([*decisive, settings.fingerprint()]).encode()).hexdigest()
    scene = Scene(tuple(map(Path, item.job.files)), Path(item.job.target), key)
    try:
        notes = translate_scene(scene, tilers.of, domain, partial(progress, item.job.source))
        item.scene, item.picture = scene, replace(item.picture, notes=notes)
    except Img2ImgError as error:
        item.error = str(error).removeprefix(f"{scene.sources[0]}: ")
    except OSError as error:
        item.error = f"can't be read or written {told(error)}"
    except Exception as error:  # the runtimes' types
        item.error = f"the model failed ({session.reason(error)})"
        if memory.is_exhausted(error):
            item.error = tilers.too_large_tiles()


def _translate(tilers: Tilers, items: list[Item], domain: np.ndarray | None) -> None:
    """Set the items' results, or the reason why the model failed on this group."""
    if items[0].error:
        return
    pictures = [item.picture.pixels for item in items]
    height, width = pictures[0].shape[-3:-1]
    reason = None
    of_pages = pictures[0].ndim == 4  # all pages of one file
    notes: tuple[str, ...] = ()
    try:
        each = list(pictures[0]) if of_pages else pictures
        results, notes, reason = tilers.translate(each, domain)
        if of_pages and not reason:
            results = [np.stack(results)]
    except Exception as error:  # the runtimes' types
        reason = f"{width}x{height}: the model failed ({session.reason(error)})"
    if reason:
        for item in items:
            item.error = reason
        return
    for item, result in zip(items, results, strict=True):
        item.result = result
        told = (*item.picture.notes, *notes)
        item.picture = replace(item.picture, pixels=NO_PIXELS, notes=told)  # frees its memory
