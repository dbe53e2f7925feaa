"""How fast a bundle is, and how near to another one: each model and provider in a process of its
own, so that memory is its own, too.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from img2img import images, memory
from img2img.errors import DeviceError, Img2ImgError
from img2img.evaluate.metrics import psnr
from img2img.files import spread
from img2img.infer.translator import Translator

BATCHES = (1, 2, 4, 8)
WARM_UP = 3  # runs that are not counted: allocation, and kernels that are chosen by trial


@dataclass(frozen=True)
class Speed:
    """Of one model on one provider, with pictures of one size."""

    model: str
    precision: str  # that it was computed in
    provider: str
    load_seconds: float  # file to session
    latency_p50: float  # seconds, one picture
    latency_p95: float
    throughput: float  # pictures a second at the best batch
    batch: int  # that one
    peak_mib: float | None  # of the whole process; None where the system does not tell
    psnr_mean: float | None = None  # dB, against the first model; None of itself
    psnr_worst: float | None = None


def bench(
    models: Sequence[Path],
    providers: Sequence[str],
    pictures: Sequence[np.ndarray],
    seconds: float = 3.0,
    threads: int | None = None,
) -> list[dict[str, Any]]:
    """Measure every model on every provider; the first pair is what the others are compared with.

    pictures: uint8 [H, W, C] of one size; all are compared, the first is timed. seconds: for each
    of the timings. Raises DeviceError where another provider ran than the one asked for.
    """
    rows: list[Speed] = []
    reference: list[np.ndarray] = []
    for model in models:
        for provider in providers:
            speed, outputs = _in_own_process((model, provider, list(pictures), seconds, threads))
            if reference:
                near = [psnr(ours, theirs) for ours, theirs in zip(outputs, reference, strict=True)]
                speed = replace(speed, psnr_mean=statistics.fmean(near), psnr_worst=min(near))
            else:
                reference = outputs
            rows.append(speed)
    return [asdict(row) for row in rows]


def load_pictures(files: Sequence[Path], channels: int, size: int, most: int) -> list[np.ndarray]:
    """Up to so many of the files, from all over them, as uint8 [size, size, channels]."""
    found = (images.read(files[i], channels).pixels for i in spread(most, len(files)))
    return [images.resize(pixels, size, size) for pixels in found]


def _in_own_process(
    wanted: tuple[Path, str, list[np.ndarray], float, int | None],
) -> tuple[Speed, list[np.ndarray]]:
    """What _measure, given this, says in a process of its own."""
    model, provider, *_ = wanted
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, *wanted))
    process.start()
    theirs.close()
    try:
        answer = ours.recv()
    except EOFError:
        process.join()
        raise Img2ImgError(
            f"{model.name} on {provider} ended without an answer (exit code {process.exitcode}; "
            "-9 is what a machine out of memory does)."
        ) from None
    process.join()
    if isinstance(answer, Exception):
        raise answer
    speed, outputs = answer
    return speed, outputs


def _answer(
    pipe: Connection,
    model: Path,
    provider: str,
    pictures: list[np.ndarray],
    seconds: float,
    threads: int | None,
) -> None:
    try:
        pipe.send(_measure(model, provider, pictures, seconds, threads))
    except Exception as error:
        pipe.send(error)


def _measure(
    model: Path,
    provider: str,
    pictures: list[np.ndarray],
    seconds: float,
    threads: int | None,
) -> tuple[Speed, list[np.ndarray]]:
    began = time.perf_counter()
    translator = Translator(model, provider, threads=threads)
    load_seconds = time.perf_counter() - began
    if provider not in ("auto", translator.provider):
        raise DeviceError(f"{provider} was asked for, but {translator.provider} ran.")
    labels = translator.manifest.labels
    to = labels.names[0] if labels.sets else None
    for _ in range(WARM_UP):
        translator(pictures[:1], to)
    times = _timed(lambda: translator(pictures[:1], to), seconds)
    rates = {}
    for batch in BATCHES:
        several = [pictures[i % len(pictures)] for i in range(batch)]
        translator(several, to)
        run = _timed(partial(translator, several, to), seconds)
        rates[batch] = batch / statistics.median(run)
        if rates[batch] < 0.9 * max(rates.values()):
            break  # larger ones only need more memory
    best = max(rates, key=rates.__getitem__)
    ordered, peak = sorted(times), memory.peak()
    speed = Speed(
        model=model.stem,
        precision=translator.precision,
        provider=translator.provider,
        load_seconds=load_seconds,
        latency_p50=statistics.median(times),
        latency_p95=ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        throughput=rates[best],
        batch=best,
        peak_mib=None if peak is None else peak / 2**20,
    )
    return speed, translator(pictures, to)


def _timed(run: Callable[[], object], seconds: float) -> list[float]:
    """Seconds of every run within the time, at least five."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return times
