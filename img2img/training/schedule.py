"""The length of a run, and its learning rate and progress as functions of the step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from img2img.errors import UsageError
from img2img.methods.config import MethodConfig
from img2img.training.config import PastSettings


def steps_per_epoch(config: MethodConfig, samples: int) -> int:
    """Steps in one pass over the samples. The last batch may repeat some of them."""
    return math.ceil(samples / config.batch)


@dataclass(frozen=True)
class Schedule:
    """The length of a run in epochs or in steps, with the learning rate and progress.

    If a run is resumed with another length or decay, a new segment begins at step `start`: the
    rate is constant again, and falls in the last part of the segment. Progress continues from
    `start_progress`, so that instance noise that has faded does not return.
    """

    epochs: int | None
    steps: int | None  # of the whole run; None if the length is in epochs
    decay: float  # last part of the segment in which the rate falls, 0 to 1
    epoch_steps: int
    start: int = 0
    start_progress: float = 0.0

    @classmethod
    def of(
        cls, config: MethodConfig, epoch_steps: int, history: Sequence[PastSettings] = ()
    ) -> Self:
        """The schedule after the changes in the history. Raises UsageError if a change leaves no
        step to do.
        """
        settings: list[PastSettings | MethodConfig] = [*history, config]
        schedule = cls(settings[0].epochs, settings[0].steps, settings[0].decay, epoch_steps)
        for past, after in zip(history, settings[1:], strict=True):
            changed = cls(after.epochs, after.steps, after.decay, epoch_steps)
            if changed.total <= past.until:
                raise UsageError(
                    f"The run has done {past.until:,} steps, and its length would be "
                    f"{changed.total:,}: nothing is left to train. Give a greater total length: "
                    f"--steps, or --epochs ({epoch_steps:,} steps each)."
                )
            if (past.epochs, past.steps, past.decay) != (after.epochs, after.steps, after.decay):
                progress = schedule.progress(past.until)
                schedule = replace(changed, start=past.until, start_progress=progress)
        return schedule

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        if self.epochs is not None:
            return self.epochs * self.epoch_steps
        assert self.steps is not None, "a config has epochs or steps"
        return self.steps

    def rate_factor(self, step: int) -> float:
        """The factor of the learning rate: 1, then a linear decay toward 0 over the last `decay`
        part of the segment.

        As in the papers, the unit is the epoch: 1 - max(0, e - n) / (n_decay + 1) in epoch e of
        n + n_decay, counted from 1. If the length of a run is in steps, the unit is the step.
        """
        unit = 1 if self.epochs is None else self.epoch_steps
        before = self.start // unit
        now, length = step // unit + 1 - before, self.total // unit - before
        decaying = round(length * self.decay)
        return max(0.0, 1 - max(0, now - (length - decaying)) / (decaying + 1))

    def progress(self, step: int) -> float:
        """The fraction of the run that is done, 0 to 1."""
        done = (step - self.start) / (self.total - self.start)
        return self.start_progress + (1 - self.start_progress) * done
