"""The weights of past saves that a run keeps, in addition to the last and the best ones."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from img2img.training.checkpoint import LAST


@dataclass(frozen=True)
class Keep:
    """Which saves have weights that are kept (the setting `keep`)."""

    every: int = 0  # keep saves at multiples of this step; 0: none
    newest: int = 0  # keep only this many of the newest; 0: all

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
        raise ValueError(f"{text}: use none, all, a number of saves, or 'every 1000' (steps)")

    def includes(self, step: int) -> bool:
        """Whether the weights of a save at this step are kept."""
        return self.every > 0 and step % self.every == 0

    def calls_for_save(self, step: int) -> bool:
        """Whether the run must be saved at this step, because its weights are kept."""
        return self.every > 1 and self.includes(step)


def kept_path(run: Path, step: int) -> Path:
    """The file of a step's kept weights."""
    return run / LAST.parent / f"step-{step:07d}.safetensors"


def kept_checkpoints(run: Path) -> dict[int, Path]:
    """The files of a run's kept weights by step, the earliest first."""
    kept = {}
    for path in (run / LAST.parent).glob("step-*.safetensors"):
        number = path.stem.removeprefix("step-")
        if number.isdecimal():
            kept[int(number)] = path
    return dict(sorted(kept.items()))
