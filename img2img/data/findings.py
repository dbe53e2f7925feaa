"""The findings that `img2img check` reports about a data set."""

from dataclasses import dataclass, field
from typing import Literal

SHOWN = 20  # files that a finding names, at most

Level = Literal["error", "warning", "note"]


@dataclass
class Finding:
    """An observation about a data set. An error would make training fail, or what it
    measures worthless.
    """

    level: Level
    what: str
    files: list[str] = field(default_factory=list)
