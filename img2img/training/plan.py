"""What a run needs before it can start: its data, looked at, and a config that is complete."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from img2img.data.augment import Augment
from img2img.data.cache import Cache
from img2img.data.check import fingerprint, require_same_domains, verify
from img2img.data.dataset import Dataset
from img2img.data.published import resolve
from img2img.errors import DataError, UsageError
from img2img.files import PassedOver
from img2img.methods import METHODS
from img2img.methods.config import MethodConfig
from img2img.training.config import RunConfig
from img2img.training.examine import fit_extractor
from img2img.training.schedule import Schedule, steps_per_epoch


@dataclass(frozen=True)
class Plan:
    """A run that can start."""

    config: RunConfig
    training: Dataset
    held_out: Dataset
    schedule: Schedule

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return self.schedule.total

    def augment(self, training: bool, cache: Cache | None = None) -> Augment:
        return augmentation(self.config.method, training, cache)

    def new_cache(self, path: Path) -> Cache:
        """For the training pictures."""
        records, channels = self.training.records
        load_size = self.config.method.load_size
        assert load_size  # else the config refuses a cache
        return Cache(path, records, load_size.width * load_size.height * channels)


def augmentation(config: MethodConfig, training: bool, cache: Cache | None = None) -> Augment:
    """What the settings make of the pictures; training: with random crops and flips."""
    return Augment(
        config.size,
        config.load_size,
        config.centre_crop,
        config.flip,
        training,
        cache,
        config.fit,
        [
            name
            for name, given in (("a", config.labels_in is not None), ("b", config.labels_out))
            if given
        ],
    )


def make_plan(config: RunConfig, console: Console, decode: bool = True) -> Plan:
    """Open and verify the data, and complete the config with what was found in it.

    decode: read every picture. Raises UsageError or DataError before anything is written.
    """
    if not config.fingerprint:  # one that goes on has its folders
        config, notes = resolve_sources(config)
        for note in notes:
            console.print(note, highlight=False, markup=False, soft_wrap=True)
    training, held_out = _open_data(config, console, decode)
    found = fingerprint(training)
    if config.fingerprint not in ("", found):
        raise DataError(
            "The training pictures are not those that the run began with (names or sizes differ), "
            "so it can't go on exactly. Put them back, or start a new run."
        )
    method = METHODS[config.mode].fit_config(config.method, training)
    config = config.model_copy(
        update={
            "method": method,
            "measured_by": fit_extractor(config, training, held_out, console),
            "fingerprint": found,
            "sources": config.sources.absolute(),  # --resume works from any folder
            "test": config.test.absolute(),
        }
    )
    epoch_steps = steps_per_epoch(method, len(training))
    return Plan(config, training, held_out, Schedule.of(method, epoch_steps, config.history))


def _open_data(config: RunConfig, console: Console, decode: bool) -> tuple[Dataset, Dataset]:
    """The training and the held-out pictures, verified; what is left out is told. Where nothing
    can be held out, both are the same.
    """
    method, c = METHODS[config.mode], config.method
    channels = (c.in_channels, c.out_channels)
    crop = c.centre_crop or (None if c.load_size else c.size)  # what is taken of a file's pixels
    training = method.open_data(config.sources, channels, c)
    if obstacle := training.obstacle():
        raise obstacle
    left_over = PassedOver()
    left_over.add(training.passed_over)
    _tell_gaps(training, console)
    if config.test.given():
        held_out = method.open_data(config.held_out_sources, channels, c)
        left_over.add(held_out.passed_over)
        _tell_gaps(held_out, console, "held out: ")
        verify(held_out, crop, decode, console)
        require_same_domains(training, held_out)
    verify(training, crop, decode, console)
    if not config.test.given():
        rest, held_out = training.split(config.held_out)
        training, held_out = (rest, held_out) if len(held_out) else (training, training)
    if str(left_over):
        console.print(f"{left_over}.")
    return training, held_out


def resolve_sources(config: RunConfig) -> tuple[RunConfig, tuple[str, ...]]:
    """The config with the folders that published data sets stand for, and a line on each choice.

    What it gives, it takes unchanged. Raises UsageError for a number of pictures to hold out beside
    a part of the data set that is held out.
    """
    resolved = resolve(METHODS[config.mode].layouts, config.sources, config.test)
    chosen = resolved.held_out.given() and not config.test.given()
    if chosen and config.held_out != RunConfig.model_fields["held_out"].default:
        part = ", ".join(map(str, resolved.held_out.folders()))
        raise UsageError(f"--held-out would change nothing: {part} is held out. Leave it out.")
    update = {"sources": resolved.training, "test": resolved.held_out}
    return config.model_copy(update=update), resolved.notes


def _tell_gaps(dataset: Dataset, console: Console, which: str = "") -> None:
    """Name the first files that are left out."""
    for why, files in dataset.gaps():
        names = ", ".join(map(str, files[:10]))
        more = f" and {len(files) - 10} more" if len(files) > 10 else ""
        line = f"{which}{len(files)} {why} and are left out: {names}{more}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
