"""Pictures from their files to their files: decoding, inference and encoding overlap, in bounded
memory.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from img2img import images, memory
from img2img.errors import Img2ImgError, told
from img2img.images import MAX_PIXELS
from img2img.infer import session
from img2img.infer.item import NO_PIXELS, Item, Reading, read_all, save_all
from img2img.infer.plan import Job
from img2img.infer.scene import Scene
from img2img.infer.scene_translate import translate_scene
from img2img.infer.tilers import Tilers
from img2img.infer.translator import Translator
from img2img.infer.workers import Pool

ProgressOfScene = Callable[[str, int, int], None]
BATCH_PIXELS = 8 * 512 * 512  # of a batch: larger pictures run in smaller batches
WAITING = 2**29  # bytes of decoded pictures in the queue, and as many in the queue to be saved


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


def translated(
    tilers: Tilers,
    jobs: Iterable[Job],
    settings: Settings,
    pool: Pool,
    cores: int,
    progress_of_scene: ProgressOfScene,
) -> Iterator[Item]:
    """The items of the jobs, each when it is saved or has failed. With fail_fast, it ends after the
    first that failed. cores: of the machine that may be used.
    """
    translator, together = tilers.translator, pool.together
    domain, values = translator.domain(settings.to), translator.manifest.intensity_out
    maker = f"{translator.sha256} {settings.fingerprint()}"
    on_cpu, any_failed = translator.provider in session.ON_CPU, False
    saving: deque[Future[list[Item]]] = deque()

    def saved(limit: int) -> Iterator[Item]:
        while len(saving) * together > limit:
            yield from saving.popleft().result()

    # Pictures that need tiles are large, so only one waits while another runs.
    ahead = _Ahead(1 if settings.tile else 4 * together * pool.workers, cores)
    reads = _read_ahead(pool.executor, together, jobs, translator, settings, ahead)
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
        any_failed = any_failed or any(item.error for item in items)
        for start in range(0, len(items), together):
            part = items[start : start + together]
            saving.append(pool.executor.submit(save_all, part, settings.quality, values, maker))
        for item in saved(ahead.allowed):
            any_failed = any_failed or item.error is not None
            yield item
        if settings.fail_fast and any_failed:
            break
    yield from saved(0)


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
    progress: ProgressOfScene,
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
