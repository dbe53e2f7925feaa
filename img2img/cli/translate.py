"""img2img translate: run files, folders and globs through a model, without torch."""

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from img2img.cli.options import Actors, Address, Engine, Precision, option

if TYPE_CHECKING:
    from rich.console import Console

    from img2img.infer.partners import Partners
    from img2img.infer.plan import Job
    from img2img.infer.translator import Translator


def translate(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders or globs, or URLs of these (s3://, gs://, https://). For a model "
            "with several inputs: a folder of each, in the order that info shows, whose files are "
            "matched by name; or a file of each."
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            help="Folder to write to, or a URL of one (s3://, gs://); for one input, a folder or a "
            "file.",
        ),
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A model file, or the name of a model or run.")
    ],
    to: Annotated[
        str | None,
        option("Target domain, or attributes with commas, or none. all: every domain in a folder."),
    ] = None,
    direction: Annotated[
        Literal["ab", "ba"] | None, option("For a model with two directions.")
    ] = None,
    provider: Annotated[
        str, option("Where to run: auto, cpu, cuda, tensorrt, openvino, coreml or directml.")
    ] = "auto",
    precision: Precision = "auto",
    batch: Annotated[int | None, typer.Option(min=1, help="Pictures per batch.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the CPU provider.")] = None,
    engine: Engine = "local",
    actors: Actors = None,
    address: Address = None,
    existing: Annotated[
        Literal["skip", "replace", "error"],
        option(
            "Existing outputs. skip: keep those whose input is unchanged; for -o FILE, an error."
        ),
    ] = "skip",
    names: Annotated[
        Literal["plain", "full", "number"],
        option(
            "For inputs with the same output name. plain: an error; full: a.gif.png and a.png; "
            "number: a.png and a-2.png."
        ),
    ] = "plain",
    ext: Annotated[
        Literal["keep", "png", "jpg", "webp", "avif"],
        option("Format of the outputs. keep: the input's, but png for label maps."),
    ] = "keep",
    quality: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            help="Of jpg, webp, avif: default 95; a lossless webp stays so. 100: lossless webp.",
        ),
    ] = None,
    max_side: Annotated[
        int | None, typer.Option(min=1, help="Shrink larger pictures to this side first, px.")
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(
            min=64,
            help="Run larger pictures in tiles of this side, px. Default: those that don't fit "
            "into memory, in tiles that do.",
        ),
    ] = None,
    norm_tiles: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Estimate the statistics of norms from so many tiles: faster, and near the exact "
            "result, which takes all of them.",
        ),
    ] = None,
    max_pixels: Annotated[
        int,
        typer.Option(
            min=1,
            help="Read larger pictures in parts (TIFF and .npy, by models that run in tiles), and "
            "refuse others.",
        ),
    ] = 100_000_000,
    shard: Annotated[str, option("i/n: only the i-th of n equal parts of the inputs.")] = "1/1",
    fail_fast: Annotated[bool, option("Stop at the first failure.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Translate pictures. Names and sub-folders are kept; inputs are never changed.

    img2img translate photos -o out -m flat-to-3d

    img2img translate optical sar -o out -m optical-sar-to-dem
    """
    import json
    from contextlib import nullcontext

    from img2img import remote
    from img2img.cli import stderr_console
    from img2img.errors import PartialFailure, UsageError
    from img2img.files import RECORD_FOLDER, PassedOver
    from img2img.infer.folder import Summary, translate_files, undone
    from img2img.infer.on_ray import Model, OnRay, on_ray
    from img2img.infer.pipeline import Settings
    from img2img.infer.plan import Job, formats_of, make_plan
    from img2img.infer.record import Record
    from img2img.infer.translator import MAX_BATCH, Translator

    console = stderr_console()
    inputs, out = [remote.local(name) for name in inputs], remote.place(output)
    together = max(batch or 0, MAX_BATCH)
    elsewhere: AbstractContextManager[OnRay | None] = nullcontext()
    if engine == "ray":  # whose actors use the provider; here the model is only described
        translator = Translator(model, "cpu", direction, threads=1)
        wanted = Model(translator.path, provider, precision, together)
        elsewhere = on_ray(wanted, threads, actors, address)
    elif actors or address:
        raise UsageError("--actors and --address go with --engine ray.")
    else:
        translator = Translator(model, provider, direction, threads, together, precision)
    everywhere = to == "all" and "all" not in translator.manifest.labels.names
    targets = _folders(translator) if everywhere else {"": to}
    parts: list[tuple[list[Job], Record | None, Settings]] = []
    unreadable: list[Path] = []
    passed_over = PassedOver()
    formats = formats_of(translator.manifest)
    partners = _partners(translator, inputs, out)
    first = inputs[:1] if partners else inputs  # whose names the outputs have
    into_file = _is_file_name(first, out, formats.kept)
    if translator.manifest.is_exact and (ext != "keep" or quality is not None):
        raise UsageError(
            "The model gives values that are written without loss: leave out --ext and --quality."
        )
    if translator.manifest.intensity_in and max_side:
        raise UsageError("--max-side is for photographs; leave it out.")
    gives_labels = bool(translator.manifest.palette)
    if gives_labels:
        _require_lossless(Path(output).suffix if into_file else f".{ext}", quality)
    for folder, target in targets.items():
        settings = Settings(
            target, quality, max_pixels, batch, fail_fast, max_side, tile, norm_tiles
        )
        if into_file:
            if ext != "keep" or shard != "1/1" or names != "plain" or everywhere:
                raise UsageError(
                    "--ext, --names, --shard and --to all go with an output folder, not with a "
                    "file."
                )
            parts.append(([_job_of_file(inputs, output)], None, settings))
        else:
            passed_over = PassedOver()  # the same for every folder
            with console.status("listing the pictures"):
                kept = "png" if gives_labels and ext == "keep" else ext
                jobs = make_plan(
                    first,
                    out,
                    kept,
                    shard,
                    folder,
                    unreadable,
                    passed_over,
                    names,
                    formats,
                    partners,
                )
            parts.append((jobs, Record(remote.below(out, folder), shard), settings))
    if everywhere:  # refuse before anything is written, whichever domain is the cause
        for jobs, record, settings in parts:
            undone(jobs, record, translator.sha256, settings.fingerprint(), existing)
        if isinstance(out, Path):
            (out / RECORD_FOLDER).mkdir(parents=True, exist_ok=True)  # marks the folder as outputs
    if partners:
        passed_over.add(partners.passed_over)
    if str(passed_over) and not as_json:
        console.print(f"{passed_over}.")
    total, summary = sum(len(jobs) for jobs, *_ in parts), Summary()
    with elsewhere as on_actors, _progress(console, total) as (advance, show_scene):
        for jobs, record, settings in parts:
            summary += translate_files(
                translator, jobs, record, settings, existing, advance, show_scene, on_actors
            )
            if fail_fast and summary.failed:
                break
    absent = [(str(path), "this folder can't be listed") for path in dict.fromkeys(unreadable)]
    if partners:
        absent += partners.alone
        summary.notes |= partners.notes()
    summary.failed += absent
    total += len(absent)
    rate = summary.done / max(summary.seconds, 1e-9)
    computed = {"provider": translator.provider, "precision": translator.precision}
    if on_actors and on_actors.computed:
        computed = on_actors.computed
    if as_json:
        report: dict[str, object] = {"output": str(out), **computed}
        report["passed_over"] = dict(passed_over.files)
        report["outputs_passed_over"] = list(map(str, passed_over.outputs))
        print(json.dumps({**vars(summary), **report}))
    else:
        console.print(
            f"{summary.done:,} translated, {summary.skipped:,} skipped, "
            f"{len(summary.failed):,} failed in {summary.seconds:.1f} s "
            f"({rate:.1f} images/s on {computed['provider']} in {computed['precision']}); "
            f"see {out}"
        )
        for kind, counted in summary.notes.items():
            pictures = f"{counted['pictures']:,} picture{'s' if counted['pictures'] > 1 else ''}"
            line = f"{pictures}: {kind} (first: {counted['first']})"
            console.print(line, highlight=False, markup=False)
    if summary.failed:
        failed = list(
            dict.fromkeys(summary.failed)
        )  # an input may fail for every domain in the same way
        listed = "\n".join(f"  {_one_line(name)}: {reason}" for name, reason in failed[:50])
        more = f"\n  and {len(failed) - 50} more" if len(failed) > 50 else ""
        raise PartialFailure(f"{len(summary.failed)} of {total} failed:\n{listed}{more}")


def _job_of_file(inputs: list[str], output: str) -> "Job":
    """The job of one picture, for `-o FILE`. Raises DataError where it would replace an input."""
    from img2img import remote
    from img2img.errors import DataError
    from img2img.infer import remote_inputs
    from img2img.infer.plan import Job

    path = Path(output)
    if remote.is_url(inputs[0]) and (one := remote_inputs.single(inputs[0])):
        return Job(one.url, str(path), remote=one.remote)
    if path.exists() and any(map(path.samefile, inputs)):
        raise DataError(f"{path} would replace its own input. Choose another -o.")
    return Job(inputs[0], str(path), tuple(inputs[1:]))


def _partners(translator: "Translator", inputs: list[str], output: Path | str) -> "Partners | None":
    """The files that belong to those of the first input; None for a model with one input. Raises
    UsageError for another number of inputs than the model takes, and for URLs of several.
    """
    from img2img import remote
    from img2img.errors import UsageError
    from img2img.infer.partners import Partners

    intensity = translator.manifest.intensity_in
    if not intensity or not intensity.parts:
        return None
    if len(inputs) != len(intensity.parts):
        raise UsageError(
            f"{translator.manifest.name} takes {len(intensity.parts)} inputs, in this order: "
            f"{', '.join(part.name for part in intensity.parts)}. Give a folder of each, or a file "
            "of each."
        )
    if isinstance(output, str) or any(map(remote.is_url, inputs)):
        raise UsageError("A model with several inputs needs local files and folders, no URLs.")
    return Partners(inputs, output)


def _folders(translator: "Translator") -> dict[str, str]:
    """Folder -> domain, for each domain. A model's names can't be trusted, so paths are refused."""
    import unicodedata

    from img2img.errors import UsageError

    name, domains = translator.manifest.name, translator.manifest.labels.names
    if not domains:
        raise UsageError(f"{name} has no domains to choose from: omit --to.")
    folded = {unicodedata.normalize("NFC", domain).casefold() for domain in domains}
    for domain in domains:
        plain = domain.isprintable() and not (set(domain) & set('/\\:*?"<>|'))
        if not (plain and domain.strip(" .")) or domain[0] == "." or len(folded) < len(domains):
            raise UsageError(
                f"{name}'s domain {domain!r} can't be a folder's name: translate to it with --to."
            )
    return {domain: domain for domain in domains}


def _is_file_name(inputs: list[str], output: Path | str, formats: Collection[str]) -> bool:
    """Whether `-o` names the file for one input (`-o out.png`). Raises UsageError for a format that
    can't be written or hold the model's output, and for a file where the input is not a single
    file, or in a store.
    """
    import glob
    import mimetypes
    import os

    from img2img import remote
    from img2img.errors import UsageError
    from img2img.files import PICTURE_SUFFIXES, split_suffix
    from img2img.images import WRITERS
    from img2img.infer import remote_inputs
    from img2img.rasters import WRITES

    writable = {*WRITERS, *WRITES}
    suffix = split_suffix(str(output))[1].lower()
    if isinstance(output, str):
        if suffix in PICTURE_SUFFIXES | writable:
            raise UsageError(f"-o {output} names a file; a URL is that of a folder.")
        if remote.is_web(output):
            raise UsageError(f"-o {output}: web servers are only read. Use a folder, or s3://.")
        return False
    if output.is_dir():
        return False
    single = inputs[0] if len(inputs) == 1 else ""
    of_url = remote.is_url(single)
    if single and not (of_url or os.path.exists(single) or glob.has_magic(single)):
        return False  # the plan reports the missing input
    one = single != "" and Path(single).is_file()
    if of_url and suffix in PICTURE_SUFFIXES | writable:
        one = remote_inputs.single(single) is not None
    folder = "If you mean a folder of that name, create it first."
    if not one and suffix in PICTURE_SUFFIXES | writable:
        raise UsageError(f"-o {output} names a file, but the input is not one file. {folder}")
    if one and suffix in formats:
        return True
    # Not the system's list of types, which differs between machines.
    known = PICTURE_SUFFIXES | writable
    if one and (suffix in known or suffix in mimetypes.MimeTypes().types_map[True]):
        allowed = ", ".join(sorted(formats))
        raise UsageError(
            f"-o {output}: {suffix} can't be written. Formats to write: {allowed}. {folder}"
        )
    return False


def _require_lossless(suffix: str, quality: int | None) -> None:
    """UsageError where a label map would be written in a format that mixes its colors."""
    from img2img.errors import UsageError
    from img2img.images import WRITERS

    kind = WRITERS.get(suffix.lower())
    if kind in ("JPEG", "AVIF") or (kind == "WEBP" and quality != 100):
        advice = " or --quality 100" if kind == "WEBP" else ""
        raise UsageError(
            f"The model gives label maps, and {suffix} would mix their colors. Choose png{advice}."
        )


def _one_line(name: str) -> str:
    return name.replace("\n", "\\n")


Advance = Callable[[int], None]
ShowScene = Callable[[str, int, int], None]


def _progress(console: "Console", total: int) -> AbstractContextManager[tuple[Advance, ShowScene]]:
    """A context with a function that advances the progress by a number of pictures, and one that
    shows how far a picture is that is translated in parts, which takes long. Both are shown as bars
    on a terminal, else as a line every ten seconds.
    """
    import time
    from contextlib import contextmanager

    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    @contextmanager
    def plain() -> Iterator[tuple[Advance, ShowScene]]:
        done, last = 0, time.monotonic()

        def tell(line: str) -> None:
            nonlocal last
            if time.monotonic() - last > 10:
                last = time.monotonic()
                console.print(line, highlight=False, markup=False)

        def advance(count: int) -> None:
            nonlocal done
            done += count
            tell(f"{done:,}/{total:,} pictures")

        def show_scene(source: str, steps: int, of: int) -> None:
            tell(f"{_one_line(source)}: {100 * steps // of} %")

        yield advance, show_scene

    @contextmanager
    def bar() -> Iterator[tuple[Advance, ShowScene]]:
        columns = (
            *(TextColumn("{task.description}", markup=False), BarColumn()),
            *(MofNCompleteColumn(), TimeRemainingColumn()),
        )
        with Progress(*columns, console=console) as progress:
            pictures = progress.add_task("translating", total=total)
            tiles = progress.add_task("", visible=False)

            def show_scene(source: str, steps: int, of: int) -> None:
                name = _one_line(source)[-30:]
                shown = steps < of
                progress.update(tiles, description=name, completed=steps, total=of, visible=shown)

            yield lambda count: progress.advance(pictures, count), show_scene

    return bar() if console.is_terminal else plain()
