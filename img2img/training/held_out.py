"""Which pictures of a run are held out: whole groups of files (--group), or single files."""

from img2img.data.dataset import Dataset
from img2img.data.groups import FILE, Groups
from img2img.data.sources import Sources
from img2img.training.config import RunConfig


def groups_of(config: RunConfig) -> Groups | None:
    """The groups of a run's files: those of --group, or else, to hold out files with all of their
    pages, the files themselves; None where each picture is a file.
    """
    rule = rule_of(config.group, config.sources, config.test)
    return Groups.of(rule, config.sources, config.held_out_sources) if rule else None


def rule_of(group: str | None, sources: Sources, held_out: Sources) -> str | None:
    """The rule by which pictures are held out in groups. held_out: folders of such pictures, which
    may have files of the same names.
    """
    by_file = sources.pages == "each" and not held_out.given()
    return group or (FILE if by_file else None)


def count_unused(whole: Dataset, training: Dataset, held_out: Dataset) -> int:
    """The files that are in neither part of a split, because they are near held-out ones, or have
    no partner and are of their group. Without a split, both parts are the whole.
    """
    if training is held_out:
        return 0
    used = {*training.files(), *held_out.files()}
    return sum(path not in used for path in whole.files())


def split(config: RunConfig, data: Dataset) -> tuple[Dataset, Dataset]:
    """Split pictures into those to train on and those that are held out, which may be none.

    Raises DataError for a file without a group, and for groups that can't be split.
    """
    groups = groups_of(config)
    if groups and config.held_out:
        return data.split_groups(config.held_out, groups)
    return data.split(config.held_out)
