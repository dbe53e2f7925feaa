"""What a run needs before it can start: its data, looked at, and a config that is complete."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from img2img.data.augment import Augment
from img2img.data.cache import Cache
from img2img.data.check import fingerprint, verify
from img2img.data.folders import Dataset, Labelled
from img2img.errors import DataError
from img2img.files import passed_over
from img2img.methods import METHODS
from img2img.train.config import RunConfig
from img2img.train.examine import fit_extractor
from img2img.train.schedule import steps_per_epoch, total_steps


@dataclass(frozen=True)
class Plan:
    """A run that can start."""

    config: RunConfig
    training: Dataset
    held_out: Dataset
    epoch_steps: int

    @property
    def total(self) -> int:
        return total_steps(self.config.method, self.epoch_steps)

    def augment(self, training: bool, cache: Cache | None = None) -> Augment:
        c = self.config.method
        return Augment(c.size, c.load_size, c.centre_crop, c.flip, training, cache)

    def new_cache(self, path: Path) -> Cache:
        """For the training pictures."""
        records, channels = self.training.records
        return Cache(path, records, self.config.method.load_size**2 * channels)


def make_plan(config: RunConfig, console: Console, decode: bool = True) -> Plan:
    """Open and verify the data. Raises UsageError or DataError before anything is written."""
    method, c = METHODS[config.mode], config.method
    channels = (c.in_channels, c.out_channels)
    crop = c.centre_crop or (0 if c.load_size else c.size)  # what is taken from the file's pixels
    training = method.data.open(config.sources, channels)
    if training.left_out:
        names = ", ".join(map(str, training.left_out[:10]))
        more = f" and {len(training.left_out) - 10} more" if len(training.left_out) > 10 else ""
        console.print(f"{len(training.left_out)} without a partner, left out: {names}{more}")
    if config.test.given():
        held_out = method.data.open(config.held_out_sources, channels)
        verify(held_out, crop, decode, console)
        if isinstance(training, Labelled) and held_out.labels != training.labels:
            raise DataError(
                f"The held-out pictures have the domains {', '.join(held_out.labels.names)}, the "
                f"training pictures {', '.join(training.labels.names)}. They must be the same."
            )
    verify(training, crop, decode, console)
    if not config.test.given():
        rest, held_out = training.split(config.held_out)
        training, held_out = (rest, held_out) if len(held_out) else (training, training)
    if left := str(passed_over((*config.sources.folders(), *config.test.folders()))):
        console.print(f"{left}.")
    found = fingerprint(training)
    if config.fingerprint not in ("", found):
        raise DataError(
            "The training pictures are not those that the run began with (names or sizes differ), "
            "so it can't go on exactly. Put them back, or start a new run."
        )
    fitted = method.fit_config(c, training)
    config = config.model_copy(
        update={
            "method": fitted,
            "measured_by": fit_extractor(config, training, held_out, console),
            "fingerprint": found,
            "sources": config.sources.absolute(),  # --resume works from any folder
            "test": config.test.absolute(),
        }
    )
    return Plan(config, training, held_out, steps_per_epoch(fitted, len(training)))
