"""Checkpoints that a run keeps: weights of past saves, beside the last and the best ones."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from img2img.training.checkpoint import LAST


@dataclass(frozen=True)
class Keep:
    """Which saves leave weights of their own (the setting `keep`)."""

    every: int = 0  # saves at multiples of so many steps; 0: none
    newest: int = 0  # only as many of the last ones; 0: no limit

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "none", "all", "5" or "every 1000"; ValueError for anything else."""
        if text in ("none", "0"):
            return cls()
        if text == "all":
            return cls(every=1)
        if match := re.fullmatch(r"(every[ -])?([1-9]\d*)", text):
            number = int(match[2])
            return cls(every=number) if match[1] else cls(every=1, newest=number)
        raise ValueError(f"{text}: write none, all, a number of saves, or 'every 1000' steps")

    def includes(self, step: int) -> bool:
        """Whether the weights of a save at this step stay."""
        return self.every > 0 and step % self.every == 0

    def calls_for_save(self, step: int) -> bool:
        """Whether the run is saved at this step because its weights are to stay."""
        return self.every > 1 and self.includes(step)


def kept_path(run: Path, step: int) -> Path:
    """Where the kept weights of a step are."""
    return run / LAST.parent / f"step-{step:07d}.safetensors"


def kept_checkpoints(run: Path) -> dict[int, Path]:
    """The kept weights of a run by step, the earliest first."""
    found = {}
    for path in (run / LAST.parent).glob("step-*.safetensors"):
        number = path.stem.removeprefix("step-")
        if number.isdecimal():
            found[int(number)] = path
    return dict(sorted(found.items()))
