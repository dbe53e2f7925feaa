"""Gradient accumulation: a batch computed in equal parts, one after the other, to save memory."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from img2img.errors import OutOfMemory
from img2img.methods.base import Method
from img2img.methods.config import MethodConfig
from img2img.methods.objectives import OBJECTIVES
from img2img.methods.step import Batch, Draws, Scene
from img2img.nets.norm import PartAverages, RunningAveragesKept
from img2img.training.pool import Choices

Terms = dict[str, Tensor]


class BatchTooLarge(Exception):
    """The memory is not sufficient for a step."""


def in_more_parts(config: MethodConfig, processes: int) -> int:
    """The next larger number of equal parts of the batch. Raises OutOfMemory, which says what to
    do, where there is none, where parts would be trained on otherwise than the whole batch, and for
    several processes, of which the others don't know about it.
    """
    batch, parts = config.batch, config.accumulate
    reason = differs_in_parts(config) or ("there are several processes" if processes > 1 else "")
    if not reason:
        for more in range(2 * parts, batch + 1, parts):
            if batch % more == 0:
                return more
    pictures = batch // processes // parts
    told = f"The memory is not sufficient for a step with {pictures} picture{'s'[: pictures > 1]}"
    also = f" The batch is not computed in parts by itself, because {reason}." if reason else ""
    ways = [] if config.recompute else ["--recompute, which changes nothing but the time"]
    ways += ["a smaller --batch"] if batch > 1 else []
    ways.append("a smaller --size or --width")
    raise OutOfMemory(
        f"{told} of {config.size} px.{also} Start a new run with {', or '.join(ways)}."
    )


def differs_in_parts(config: MethodConfig) -> str:
    """Why a batch in parts is trained on otherwise than the whole; "" if it is not."""
    generator, discriminator = config.generator, config.discriminator
    reasons = {
        "BatchNorm normalizes over the pictures that are computed at once": generator.batch_norm
        or discriminator.batch_norm,
        "minibatch layers compare the pictures that are computed at once": discriminator.compares,
        f"{config.objective} compares the pictures that are computed at once": OBJECTIVES[
            config.objective
        ].answers
        > 1,
        "--unroll does steps with the pictures that are computed at once": config.unroll > 0,
        "spectral normalization moves with each part": discriminator.uses_spectral_norm,
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


@dataclass
class Part:
    """A whole batch, or one of its equal parts: what goes through the networks at once."""

    batch: Batch
    draws: Draws
    choices: dict[str, Choices]  # of the image pools, by image of the scene
    number: int = 0  # 1, 2, ... of a part; 0: the whole batch
    scene: Scene | None = None


def split(batch: Batch, draws: Draws, choices: list[dict[str, Choices]]) -> list[Part]:
    """Split a batch, in its order, into equal parts: one for each entry of `choices`."""
    count = len(choices)
    if count == 1:
        return [Part(batch, draws, choices[0])]
    return [
        Part(
            {name: value.chunk(count)[number] for name, value in batch.items()},
            part_draws,
            choices[number],
            number + 1,
        )
        for number, part_draws in enumerate(draws.split(count))
    ]


def summed(method: Method, parts: list[Part], backward: Callable[[Part], Terms]) -> Terms:
    """Run `backward` on each part, and return the sums of their terms, by name.

    BatchNorm's running averages move once, by the mean of the parts' statistics.
    """
    if len(parts) == 1:
        return backward(parts[0])
    averages, total = PartAverages(method), Terms()
    for part in parts:
        for name, term in backward(part).items():
            total[name] = total[name] + term if name in total else term
        averages.end_part()
    averages.end()
    return total


@contextmanager
def repeatable(method: Method, device: torch.device, moves_averages: bool) -> Iterator[None]:
    """A context in which the scene of a part is computed, once for each side.

    At its end the random number generators are restored. The running averages of the generators'
    BatchNorm move only if `moves_averages`.
    """
    devices = [device] if device.type == "cuda" else []
    kept = RunningAveragesKept(method.generators)
    with torch.random.fork_rng(devices), contextlib.nullcontext() if moves_averages else kept:
        yield
