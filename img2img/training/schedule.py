"""How long a run is, and its learning rate and progress as pure functions of the step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from img2img.errors import UsageError
from img2img.methods.config import MethodConfig
from img2img.training.config import PastSettings


def steps_per_epoch(config: MethodConfig, samples: int) -> int:
    """Steps that one pass over so many samples takes; the last batch may repeat some."""
    return math.ceil(samples / config.batch)


@dataclass(frozen=True)
class Schedule:
    """The length of a run in epochs or in steps, and what follows from it.

    A run that is resumed with another length or decay begins a new stretch at `start`: the rate
    is constant again, and falls over the last part of the stretch. Progress continues from
    `start_progress`, so that noise that has faded does not come back.
    """

    epochs: int | None
    steps: int | None  # in all; None where the length is in epochs
    decay: float  # last part of the stretch in which the rate falls, 0 to 1
    epoch_steps: int
    start: int = 0
    start_progress: float = 0.0

    @classmethod
    def of(
        cls, config: MethodConfig, epoch_steps: int, history: Sequence[PastSettings] = ()
    ) -> Self:
        """The schedule in force after the changes of the history. Raises UsageError where they left
        no step to do.
        """
        settings: list[PastSettings | MethodConfig] = [*history, config]
        schedule = cls(settings[0].epochs, settings[0].steps, settings[0].decay, epoch_steps)
        for past, after in zip(history, settings[1:], strict=True):
            changed = cls(after.epochs, after.steps, after.decay, epoch_steps)
            if changed.total <= past.until:
                raise UsageError(
                    f"The run has done {past.until:,} steps, and {changed.total:,} are its length: "
                    f"nothing is left to train. Give a greater length, in all: --steps, or "
                    f"--epochs ({epoch_steps:,} steps each)."
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
        """1, then falling in a line towards 0 in the last `decay` part of the stretch.

        The papers count epochs: 1 - max(0, e - n) / (n_decay + 1) in the e-th of n + n_decay, e
        from 1. A run whose length is in steps counts steps the same way.
        """
        unit = 1 if self.epochs is None else self.epoch_steps
        before = self.start // unit
        now, length = step // unit + 1 - before, self.total // unit - before
        decaying = round(length * self.decay)
        return max(0.0, 1 - max(0, now - (length - decaying)) / (decaying + 1))

    def progress(self, step: int) -> float:
        """The part of the run that is done, 0 to 1."""
        done = (step - self.start) / (self.total - self.start)
        return self.start_progress + (1 - self.start_progress) * done
