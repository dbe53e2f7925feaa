"""What `img2img check` reports about a data set."""

from dataclasses import dataclass, field
from typing import Literal

SHOWN = 20  # files named in a finding

Level = Literal["error", "warning", "note"]


@dataclass
class Finding:
    """One thing worth knowing; an error would break the training."""

    level: Level
    what: str
    files: list[str] = field(default_factory=list)
