"""Preparing a run: its data are opened and checked, and its config is completed."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rich.console import Console

from img2img.data.augment import Augment
from img2img.data.cache import Cache
from img2img.data.check import fingerprint, require_same_domains, verify
from img2img.data.dataset import Dataset
from img2img.data.intensities import SEEN, fit_intensities, is_raster, names_of_inputs
from img2img.data.leaks import leaked_files, leaked_groups
from img2img.data.published import resolve
from img2img.errors import DataError, UsageError
from img2img.features import feature_sha256
from img2img.features.weights import sha256
from img2img.files import PassedOver, find_pictures
from img2img.intensity import Intensity
from img2img.methods import METHODS
from img2img.methods.config import MethodConfig
from img2img.shards import copy_remote, is_shards, pictures
from img2img.training.config import RunConfig, option
from img2img.training.examine import fit_extractor
from img2img.training.held_out import count_unused, groups_of, split
from img2img.training.schedule import Schedule, steps_per_epoch


@dataclass(frozen=True)
class Plan:
    """A run that can start: its complete config, its data and its schedule."""

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

    @property
    def cache_shape(self) -> tuple[int, int]:
        """The number of records in a cache of the training pictures, and the bytes of each."""
        records, channels = self.training.records
        load_size = self.config.method.load_size
        assert load_size  # else RunConfig.uncacheable has the reason
        return records, load_size.width * load_size.height * channels

    def new_cache(self, path: Path) -> Cache:
        """A cache for the training pictures, in the file `path`."""
        return Cache(path, *self.cache_shape)


def augmentation(config: MethodConfig, training: bool, cache: Cache | None = None) -> Augment:
    """The preprocessing that the settings describe. training: with random crops and flips."""
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
            for name, are_labels in (
                ("a", config.labels_in is not None),
                ("b", config.labels_out),
            )
            if are_labels
        ],
        config.margin_of_crops,
    )


def make_plan(config: RunConfig, console: Console, decode: bool = True) -> Plan:
    """Open and check the data, and add to the config what is read from them.

    decode: check that every picture can be decoded. Raises UsageError or DataError, before anything
    is written.
    """
    copy_remote((*config.sources.folders(), *config.test.folders()), console)
    if not config.fingerprint:  # else it is resumed, and its folders are known
        config, notes = resolve_sources(config)
        for note in notes:
            console.print(note, highlight=False, markup=False, soft_wrap=True)
    training, held_out = _open_data(config, console, decode)
    present = fingerprint(training)
    if config.fingerprint not in ("", present):
        raise DataError(
            "The training pictures are not those with which the run was started (names or sizes "
            "differ), so it can't be continued exactly. Put them back, or start a new run."
        )
    method = METHODS[config.mode].fit_config(config.method, training)
    config = _with_feature_networks(config)
    config = config.model_copy(
        update={
            "method": method,
            "measured_by": fit_extractor(config, training, held_out, console),
            "fingerprint": present,
            "sources": config.sources.absolute(),  # so that --resume works from any folder
            "test": config.test.absolute(),
        }
    )
    epoch_steps = steps_per_epoch(method, len(training))
    return Plan(config, training, held_out, Schedule.of(method, epoch_steps, config.history))


def _with_feature_networks(config: RunConfig) -> RunConfig:
    """The config with the SHA-256 of the feature networks that take part in training, and of the
    weights of the perceptual loss.

    Raises DataError if the run was started with another file of that name.
    """
    method = config.method
    networks = {name: feature_sha256(name) for name in sorted(method.feature_networks())}
    path = method.perceptual_weights if method.perceptual else None
    weights = {str(path): sha256(path)} if path else {}
    present, saved = networks | weights, config.feature_networks | config.feature_weights
    for name, digest in saved.items():
        if present.get(name, digest) != digest:
            raise DataError(
                f"{name} is not the file with which the run was started, so it can't be continued "
                "exactly. Put that file back, or start a new run."
            )
    return config.model_copy(update={"feature_networks": networks, "feature_weights": weights})


def _open_data(config: RunConfig, console: Console, decode: bool) -> tuple[Dataset, Dataset]:
    """The training and the held-out pictures, checked. If nothing can be held out, they are the
    same. Files that are not used are reported on the console.
    """
    method, c = METHODS[config.mode], config.method
    channels = (c.in_channels, c.out_channels)
    crop = c.centre_crop or (None if c.load_size else c.size)  # the size that a picture must have
    training = method.open_data(config.sources, channels, c)
    if obstacle := training.obstacle():
        raise obstacle
    passed_over = PassedOver()
    passed_over.add(training.passed_over)
    _report_gaps(training, console)
    if config.test.given():
        held_out = method.open_data(config.held_out_sources, channels, c)
        passed_over.add(held_out.passed_over)
        _report_gaps(held_out, console, "held out: ")
        verify(held_out, crop, decode, console)
        require_same_domains(training, held_out)
    verify(training, crop, decode, console)
    if not config.test.given():
        whole = training
        rest, held_out = split(config, training)
        training, held_out = (rest, held_out) if len(held_out) else (training, training)
        _report_groups(config, whole, training, held_out, console)
    if held_out is not training and (config.test.given() or groups_of(config)):
        _refuse_leaks(config, training, held_out, decode, console)
    if str(passed_over):
        console.print(f"{passed_over}.")
    return training, held_out


def _report_groups(
    config: RunConfig, whole: Dataset, training: Dataset, held_out: Dataset, console: Console
) -> None:
    """Print which groups are held out, with the names of the first ten, and how many pictures are
    in neither part.
    """
    if groups := groups_of(config):
        names = groups.names(held_out.deciding_files())
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        line = f"held out: {', '.join(names[:10])}{more} ({held_out.describe()})"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
        if unused := count_unused(whole, training, held_out):
            console.print(f"{unused:,} files near the held-out ones are not used", highlight=False)


def _refuse_leaks(
    config: RunConfig, training: Dataset, held_out: Dataset, decode: bool, console: Console
) -> None:
    """Raise DataError where held-out groups or pictures are among those of training. Without
    groups, pictures are printed: published data sets have some, and their runs go on.
    """
    groups = groups_of(config)
    found = leaked_groups(training, held_out, groups) if groups else []
    if decode and not config.fingerprint:  # a run that is resumed has been told
        found += leaked_files(training, held_out)
    for leak in found:
        told = f"{leak.what} The first: {', '.join(leak.files[:5])}"
        if config.group:
            raise DataError(f"{told}.")
        console.print(told, highlight=False, markup=False, soft_wrap=True)


def config_for_data(values: dict[str, Any], console: Console) -> RunConfig:
    """The config of validated settings (see RunConfig.build), completed for pictures that are not
    photographs by what their values mean and by their number of bands. Each choice is printed.

    Raises UsageError and DataError as RunConfig.build and `fit_intensities` do.
    """
    config = RunConfig.build(values)
    if config.method.intensities or not config.sources.given():
        return config  # a run's, or one whose folders are missing
    described, given = METHODS[config.mode], config.method
    copy_remote((*config.sources.folders(), *config.test.folders()), console)
    sources = resolve(described.layouts, config.sources, config.test).training
    first = chain.from_iterable(map(_first_pictures, sources.folders()))
    asked = given.range or given.bands or given.show
    if not (asked or sources.more_a or any(map(is_raster, first))):
        _require_fitting(config, {})  # without listing all photographs once more
        return config
    dataset = described.open_data(sources, (3, 3), given)
    inputs: dict[str, tuple[Path, ...]] = {}
    if sources.more_a:  # named as they were given, without /train
        inputs = dataset.files_by_input(names_of_inputs(config.sources.inputs))
    files = dataset.files_by_side()
    pages, neighbors = dataset.pages, dataset.neighbors
    intensities = fit_intensities(
        files, given.range, given.bands, inputs, given.show, pages, neighbors
    )
    _require_fitting(config, intensities)
    if not intensities:
        return config
    for side, intensity in intensities.items():
        lines = [f"{side}: {intensity.described}"]
        lines += [f"{side}, {part.name}: {part.described}" for part in intensity.parts]
        lines += [f"{side}, shown: {intensity.describe_show()}"] if intensity.show else []
        for line in lines:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    bands = {"a": given.in_channels, "b": given.out_channels}
    bands |= {side: len(intensity.bands) for side, intensity in intensities.items()}
    settings = {**values["method"], "intensities": intensities}
    settings |= {"in_channels": bands["a"], "out_channels": bands["b"]}
    if bands["a"] != bands["b"] and "identity" not in settings and "identity" in given.flat():
        settings["identity"] = 0
        console.print(
            f"No identity loss: a has {bands['a']} bands, and b has {bands['b']}.", highlight=False
        )
    return RunConfig.build({**values, "method": settings})


def _first_pictures(folder: Path) -> Iterable[Path]:
    """Some pictures of a folder or of shards; none where it is missing."""
    if is_shards(folder):
        return pictures(folder, PassedOver())[:SEEN]
    return islice(find_pictures(folder), SEEN) if folder.is_dir() else ()


def _require_fitting(config: RunConfig, intensities: dict[str, Intensity]) -> None:
    """Raise UsageError for settings that do not go with the kinds of pictures."""
    method = config.method
    for side, name, count in (
        ("a", "in_channels", method.in_channels),
        ("b", "out_channels", method.out_channels),
    ):
        if side not in intensities and count not in (1, 3, 4):
            raise UsageError(
                f"{option(name)} {count}: photographs have 1 (gray), 3 (RGB) or 4 (RGB and alpha)."
            )
    labels = {"a": method.labels_in is not None, "b": method.labels_out}
    for side, are_labels in labels.items():
        if are_labels and side in intensities and intensities[side].parts:
            raise UsageError(f"Label maps can't be one of several inputs: give a single --{side}.")
        if are_labels and side in intensities:
            raise UsageError(
                f"The label maps of {side} are {intensities[side].dtype} and not 8-bit pictures, "
                "whose colors are the classes. Save them so."
            )
    if method.conditional and intensities.get("a") != intensities.get("b"):
        raise UsageError(
            f"{config.mode} has one kind of pictures: give --range, --bands and --show without a "
            "side."
        )


def resolve_sources(config: RunConfig) -> tuple[RunConfig, tuple[str, ...]]:
    """The config with the training and held-out folders of published data sets, and a line on each
    choice that was made. A resolved config is returned unchanged.

    Raises UsageError for `held_out` with a data set that has a held-out part.
    """
    resolved = resolve(METHODS[config.mode].layouts, config.sources, config.test)
    chosen = resolved.held_out.given() and not config.test.given()
    if chosen and config.held_out != RunConfig.model_fields["held_out"].default:
        part = ", ".join(map(str, resolved.held_out.folders()))
        raise UsageError(f"--held-out would change nothing: {part} is held out. Leave it out.")
    update = {"sources": resolved.training, "test": resolved.held_out}
    return config.model_copy(update=update), resolved.notes


def _report_gaps(dataset: Dataset, console: Console, which: str = "") -> None:
    """Print how many files are left out and why, with the names of the first ten."""
    for reason, files in dataset.gaps():
        names = ", ".join(map(str, files[:10]))
        more = f" and {len(files) - 10} more" if len(files) > 10 else ""
        line = f"{which}{len(files)} {reason} and are left out: {names}{more}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
