"""Which pictures of a run are held out: whole groups of files (--group), or single ones."""

from img2img.data.dataset import Dataset
from img2img.data.groups import Groups
from img2img.training.config import RunConfig


def groups_of(config: RunConfig) -> Groups | None:
    """The groups of a run's files; None without --group."""
    if not config.group:
        return None
    return Groups.of(config.group, config.sources, config.held_out_sources)


def split(config: RunConfig, data: Dataset) -> tuple[Dataset, Dataset]:
    """Split pictures into those to train on and those that are held out, which may be none.

    Raises DataError for a file without a group, and for groups that can't be split.
    """
    groups = groups_of(config)
    if groups and config.held_out:
        return data.split_groups(config.held_out, groups)
    return data.split(config.held_out)
