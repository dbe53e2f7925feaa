"""Translating the files of a folder: what remains to be done, by whom, and what is recorded."""

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from img2img.errors import DataError, told
from img2img.files import usable_cores
from img2img.infer import session
from img2img.infer.item import Item
from img2img.infer.pipeline import ProgressOfScene, Settings, translated
from img2img.infer.plan import Job
from img2img.infer.record import Record
from img2img.infer.scene import clear_leftovers
from img2img.infer.tilers import Tilers
from img2img.infer.translator import Translator
from img2img.infer.workers import workers
from img2img.remote import is_url
from img2img.writing import sync_folder

Existing = Literal["skip", "replace", "error"]
Begin = Callable[[Sequence[Job]], None]  # records that the outputs of jobs are begun
BEGUN_TOGETHER = 64  # outputs that are recorded as begun at a time, because it waits for the disk
REMOTE_THREADS = 8  # for each core, because they wait for answers most of the time


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


class Engine(Protocol):
    """What translates the pictures of a folder in other processes, or on other machines."""

    def translated(self, jobs: Sequence[Job], settings: Settings, begin: Begin) -> Generator[Item]:
        """The items of all jobs, each when it is saved or has failed. begin: to be called with jobs
        before their outputs can appear.
        """
        ...


def translate_files(
    translator: Translator,
    jobs: Sequence[Job],
    record: Record | None,
    settings: Settings,
    existing: Existing = "skip",
    progress: Callable[[int], None] = lambda count: None,
    progress_of_scene: ProgressOfScene = lambda source, done, total: None,
    engine: Engine | None = None,
) -> Summary:
    """Translate every job. Outputs are complete or absent; a second run does what is missing.

    record: of the output folder; None for a single file that the user named. progress: takes a
    number of pictures that are done. progress_of_scene: takes the file of a picture that is
    translated in parts, with the number of steps that are done, and of all. engine: where the
    pictures are translated, if not here. A picture that fails is listed in the summary. Raises
    DataError, before the first picture, where existing files are in the way, and UsageError for a
    wrong domain.
    """
    began, summary = time.monotonic(), Summary()
    translator.domain(settings.to)  # raises the error of a wrong one
    tilers = Tilers(translator, settings.tile, settings.norm_tiles)
    if settings.tile:
        tilers.of(settings.tile)  # raises the error of a model that can't be tiled
    todo = undone(jobs, record, translator.sha256, settings.fingerprint(), existing)
    summary.skipped = len(jobs) - len(todo)
    remaining = {job.target for job in todo}
    made = (job.target for job in jobs if job.target not in remaining)
    clear_leftovers(target for target in made if not is_url(target))
    progress(summary.skipped)
    made_by: dict[str, object] = {"model": translator.sha256, "options": settings.fingerprint()}
    with record.opened() if record else nullcontext():

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

        def begin(part: Sequence[Job]) -> None:
            if record:
                with recording():
                    record.begin(part)

        for job, sources, written in record.moved if record else ():
            note(Item(job, sources=sources, written=written))
        if engine:
            items = engine.translated(todo, settings, begin)
        else:
            items = _translated_here(tilers, todo, settings, begin, progress_of_scene)
        with closing(items):
            for item in items:
                note(item)
                if item.scene and not item.error:
                    item.scene.finish()
                if item.error:
                    summary.failed.append((item.job.source, item.error))
                else:
                    summary.done += 1
                    summary.add_notes(item.job.source, item.picture.notes)
                progress(1)
        for folder in {os.path.dirname(job.target) for job in todo if not is_url(job.target)}:
            sync_folder(Path(folder))
        if record:
            with recording():
                record.sync()
    summary.seconds = time.monotonic() - began
    return summary


def _translated_here(
    tilers: Tilers,
    jobs: Sequence[Job],
    settings: Settings,
    begin: Begin,
    progress_of_scene: ProgressOfScene,
) -> Generator[Item]:
    """The items of all jobs, translated by this process, and by others that read and write."""

    def begun() -> Iterator[Job]:
        for start in range(0, len(jobs), BEGUN_TOGETHER):
            part = jobs[start : start + BEGUN_TOGETHER]
            begin(part)
            yield from part

    cores = usable_cores()
    is_remote = any(job.remote or is_url(job.target) for job in jobs)
    count = cores * REMOTE_THREADS if is_remote else cores
    in_threads = is_remote or tilers.translator.provider in session.ON_CPU
    with workers(count, len(jobs), in_threads) as pool:
        yield from translated(tilers, begun(), settings, pool, cores, progress_of_scene)


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
