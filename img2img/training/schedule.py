"""How long a run is, and the learning rate as a pure function of the step."""

import math

from img2img.methods.base import MethodConfig


def steps_per_epoch(config: MethodConfig, samples: int) -> int:
    return math.ceil(samples / config.batch)


def total_steps(config: MethodConfig, epoch_steps: int) -> int:
    return config.steps if config.epochs is None else config.epochs * epoch_steps


def rate_factor(config: MethodConfig, step: int, epoch_steps: int) -> float:
    """1, then falling in a line towards 0 in the last `decay` part of the run.

    The papers count epochs: 1 - max(0, e - n) / (n_decay + 1) in the e-th of n + n_decay, e from 1.
    A run that is given in steps counts steps the same way.
    """
    if config.epochs is None:
        now, total = step + 1, config.steps
    else:
        now, total = step // epoch_steps + 1, config.epochs
    decaying = round(total * config.decay)
    return max(0.0, 1 - max(0, now - (total - decaying)) / (decaying + 1))
