"""A batch in parts whose gradients add up (`accumulate`): less memory for the same step."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from img2img.methods.base import Batch, Draws, Method, Scene
from img2img.nets.norm import PartAverages, RunningAveragesKept
from img2img.training.pool import Choices

Terms = dict[str, Tensor]


@dataclass
class Part:
    """What goes through the networks at once: a whole batch, or one of its equal parts."""

    batch: Batch
    draws: Draws
    choices: dict[str, Choices]  # of the image pools, by scene image
    number: int = 0  # of the part, from 1; 0: the whole batch
    scene: Scene | None = None


def split(batch: Batch, draws: Draws, choices: list[dict[str, Choices]]) -> list[Part]:
    """As many parts as there are choices of the pools, in the order of the pictures."""
    count = len(choices)
    if count == 1:
        return [Part(batch, draws, choices[0])]
    return [
        Part(
            {name: value.chunk(count)[number] for name, value in batch.items()},
            drawn,
            choices[number],
            number + 1,
        )
        for number, drawn in enumerate(draws.split(count))
    ]


def summed(method: Method, parts: list[Part], backward: Callable[[Part], Terms]) -> Terms:
    """Run the backward pass of each part; the sum of their terms, by name. Afterwards BatchNorm's
    running averages have moved as far as by the whole batch.
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
    """A part's scene is made in it, for each side again: random numbers after it are what they
    would have been without, and BatchNorm's running averages of the generators move only where
    they should.
    """
    devices = [device] if device.type == "cuda" else []
    kept = RunningAveragesKept(method.generators)
    with torch.random.fork_rng(devices), contextlib.nullcontext() if moves_averages else kept:
        yield
