"""The speed, memory and accuracy of bundles. Each model and provider runs in a separate process, so
that its memory can be measured.
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
from img2img.data.intensities import is_raster
from img2img.errors import DeviceError, Img2ImgError
from img2img.evaluate.metrics import psnr
from img2img.files import spread
from img2img.infer.translator import Translator
from img2img.intensity import Intensity
from img2img.sizes import Size
from img2img.stored import read_stored

BATCHES = (1, 2, 4, 8)
WARM_UP = 3  # runs that are not timed, which allocate memory and choose kernels


@dataclass(frozen=True)
class Speed:
    """The figures of one model on one provider, with pictures of one size."""

    model: str
    precision: str  # of the computation
    provider: str
    load_seconds: float  # from the file to a session
    latency_p50: float  # seconds, one picture
    latency_p95: float
    throughput: float  # pictures per second, at the best batch size
    batch: int  # the best batch size
    peak_mib: float | None  # memory of the whole process; None where it is unknown
    psnr_mean: float | None = None  # dB, against the first row; None in the first row
    psnr_worst: float | None = None


def bench(
    models: Sequence[Path],
    providers: Sequence[str],
    pictures: Sequence[np.ndarray],
    seconds: float = 3.0,
    threads: int | None = None,
    intensity: Intensity | None = None,
) -> list[dict[str, Any]]:
    """Measure every model on every provider, and the PSNR of all outputs against the first ones.

    pictures: [H, W, C] of one size; all are compared, and the first is timed. seconds: duration of
    each timing. intensity: of the outputs, if they are values. Returns the fields of Speed, a dict
    per model and provider. Raises DeviceError where a requested provider is not available.
    """
    rows: list[Speed] = []
    reference: list[np.ndarray] = []
    for model in models:
        for provider in providers:
            speed, outputs = _in_process((model, provider, list(pictures), seconds, threads))
            if reference:
                pairs = zip(outputs, reference, strict=True)
                decibels = [_decibels(output, ref, intensity) for output, ref in pairs]
                speed = replace(
                    speed, psnr_mean=statistics.fmean(decibels), psnr_worst=min(decibels)
                )
            else:
                reference = outputs
            rows.append(speed)
    return [asdict(row) for row in rows]


def load_pictures(
    files: Sequence[Path],
    channels: int,
    size: Size,
    most: int,
    intensity: Intensity | None = None,
) -> list[np.ndarray]:
    """At most `most` of the files, evenly spread, as uint8 [height, width, channels]. With an
    intensity, photographs become values: their grays fill the range of each band.
    """
    chosen = [files[i] for i in spread(most, len(files))]
    if intensity is None:
        return [images.resize(images.read(path, channels).pixels, *size) for path in chosen]
    pictures = []
    for path in chosen:
        if is_raster(path):
            pictures.append(images.resize(read_stored(path, intensity).values, *size))
        else:
            gray = images.resize(images.read(path, 1).pixels, *size) / 127.5 - 1
            pictures.append(intensity.from_network(np.repeat(gray, channels, -1)))
    return pictures


def _decibels(output: np.ndarray, reference: np.ndarray, intensity: Intensity | None) -> float:
    """PSNR in dB, at most 100; of values by their range."""
    if intensity is None:
        return psnr(output, reference)
    return psnr(intensity.levels(output, reference), np.zeros(1))


def _in_process(
    arguments: tuple[Path, str, list[np.ndarray], float, int | None],
) -> tuple[Speed, list[np.ndarray]]:
    """Run `_measure` in a separate process."""
    model, provider, *_ = arguments
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_measured, args=(sender, *arguments))
    process.start()
    sender.close()
    try:
        answer = receiver.recv()
    except EOFError:
        process.join()
        raise Img2ImgError(
            f"The process for {model.name} on {provider} ended without a result (exit code "
            f"{process.exitcode}; -9 means that the machine was out of memory)."
        ) from None
    process.join()
    if isinstance(answer, Exception):
        raise answer
    speed, outputs = answer
    return speed, outputs


def _send_measured(
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
        raise DeviceError(f"{provider} was requested, but {translator.provider} ran.")
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
            break  # larger batches only need more memory
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
    """The seconds of each run, repeated for the duration and at least five times."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return times
