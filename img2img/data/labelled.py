"""Pictures with domains, given by their sub-folder or by an attribute list."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from rich.console import Console

from img2img.data.attributes import nfc, read_attributes
from img2img.data.dataset import Dataset, Sample, split_evenly
from img2img.data.findings import Finding
from img2img.data.groups import Groups, held_out_groups
from img2img.data.pages import pages_of, pictures_of
from img2img.data.parts import Located, domain_folders, has_domains, has_two_sets, main_part
from img2img.data.sources import Sources
from img2img.errors import DataError, UsageError
from img2img.files import (
    PassedOver,
    beside,
    data_folders,
    require_folder,
    require_utf8,
)
from img2img.manifest import Labels, LabelSet

if TYPE_CHECKING:
    from img2img.data.augment import Augment

Item = tuple[Path, int, tuple[str, ...]]  # file, index of its set, its domains


@dataclass(frozen=True, kw_only=True)
class Labelled(Dataset):
    """Pictures with a label vector, from one data set or from several that are trained together."""

    items: tuple[Item, ...]
    unlisted: tuple[Path, ...] = ()  # files that are not in the attribute list

    @classmethod
    def accepts(cls, sources: Sources) -> bool:
        return bool(sources.data) and not (sources.a or sources.b or sources.pairs)

    @classmethod
    def open(cls, sources: Sources, channels: tuple[int, int]) -> Self:
        if bool(sources.attributes) != bool(sources.attribute):
            raise UsageError(
                "--attributes FILE needs --attribute NAME (one or more), and vice versa."
            )
        attributes = tuple(dict.fromkeys(map(nfc, sources.attribute)))
        sets: list[LabelSet] = []
        items: list[Item] = []
        missing: list[Path] = []
        unlisted: list[Path] = []
        left_over = PassedOver()
        for number, folder in enumerate(sources.data):
            require_folder(folder)
            if sources.attributes and number == 0:
                listed = read_attributes(sources.attributes, folder, attributes, left_over)
                missing, unlisted = listed.missing, listed.unlisted
                pages = pages_of([path for path, _ in listed.items], sources.pages)
                members = [
                    (page, names)
                    for (_, names), pages_of_file in zip(listed.items, pages, strict=True)
                    for page in pages_of_file
                ]
                sets.append(LabelSet(kind="attributes", domains=attributes))
            else:
                domains = _read_domains(folder, sources, left_over)
                sets.append(LabelSet(kind="classes", domains=tuple(domains)))
                members = [(path, (name,)) for name, paths in domains.items() for path in paths]
            items += [(path, number, names) for path, names in members]
        labels = Labels(sets=tuple(sets))
        twice = [name for name, count in Counter(labels.names).items() if count > 1]
        if twice:
            raise DataError(f"Two data sets have a domain {twice[0]}. Rename one of the folders.")
        return cls(
            items=tuple(items),
            labels=labels,
            channels=channels,
            left_out=tuple(missing),
            unlisted=tuple(unlisted),
            passed_over=left_over,
        )

    @classmethod
    def locate(cls, sources: Sources) -> Located | None:
        return domain_folders(sources) if cls.accepts(sources) else None

    @classmethod
    def from_folders(
        cls, folders: Sequence[Path], attributes: Path | None, attribute: tuple[str, ...]
    ) -> Sources | None:
        return Sources(data=tuple(folders), attributes=attributes, attribute=attribute)

    @classmethod
    def fit(cls, sources: Sources) -> float:
        """1 with an attribute list, or for a folder with its pictures in sub-folders; else 0.1."""
        if sources.attributes:
            return 1.0
        first, *others = sources.data
        single = not others and not has_two_sets(first)
        return 1.0 if single and has_domains(main_part(first)) else 0.1

    @cached_property
    def parts(self) -> tuple[range, ...]:
        counts = Counter(number for _, number, _ in self.items)
        ends = np.cumsum([counts[number] for number in sorted(counts)]).tolist()
        return tuple(map(range, [0, *ends], ends))

    def domains_of(self, index: int) -> tuple[str, ...]:
        """The domains of the picture of a sample."""
        return self.items[index][2]

    def roles(self) -> Iterator[tuple[str, Path]]:
        """The role is the class; all pictures with attributes have the role "pictures"."""
        classes = [labels.kind == "classes" for labels in self.labels.sets]
        for path, number, names in self.items:
            yield (names[0] if classes[number] else "pictures"), path

    def sides(self, role: str) -> tuple[str, ...]:
        return ("a", "b")  # whatever the domain is called

    def inputs(self, direction: str) -> list[Path]:
        return list(self.files())

    @property
    def records(self) -> tuple[int, int]:
        return len(self.items), self.form("a").pixel_bytes

    def sample(self, index: int, augment: "Augment", random: np.random.Generator) -> Sample:
        path, number, domains = self.items[index]
        read = partial(self._read, path)
        picture = augment(random, augment.prepared(index, {"image": self.form("a")}, read))
        return picture | {"domain": self.labels.vector(number, domains)}

    def _read(self, path: Path) -> Sample:
        return {"image": self.read("a", path)}

    def split(self, held_out: int) -> tuple[Self, Self]:
        """Every class gives equally many held-out pictures."""
        kinds = self._kinds().values()
        shares = [split_evenly(kind, -(-held_out // len(kinds))) for kind in kinds]
        rest, out = (tuple(chain.from_iterable(side)) for side in zip(*shares, strict=True))
        return replace(self, items=rest), replace(self, items=out)

    def split_groups(self, held_out: int, groups: Groups) -> tuple[Self, Self]:
        """A group that is held out is held out of all domains."""
        kinds = self._kinds()
        names = {kind: [groups.name(path) for path, *_ in kinds[kind]] for kind in kinds}
        in_words = {f"pictures of {kind or 'the attribute list'}": names[kind] for kind in kinds}
        chosen = held_out_groups(in_words, -(-held_out // len(kinds)))
        shares = [
            groups.divided(items, [path for path, *_ in items], chosen) for items in kinds.values()
        ]
        rest, out = (tuple(chain.from_iterable(side)) for side in zip(*shares, strict=True))
        return replace(self, items=rest), replace(self, items=out)

    def _kinds(self) -> dict[str, list[Item]]:
        """The items of each class; those with attributes, which can be several, under ""."""
        kinds: dict[str, list[Item]] = {}
        for item in self.items:
            _, number, domains = item
            one_of = self.labels.sets[number].kind == "classes"
            kinds.setdefault(domains[0] if one_of else "", []).append(item)
        return kinds

    def identity(self) -> bytes:
        """The domains of each picture, since an attribute list may change when files do not."""
        return repr([domains for _, _, domains in self.items]).encode()

    def gaps(self) -> list[tuple[str, tuple[Path, ...]]]:
        listed = ("files of the attribute list are not in the folder", self.left_out)
        present = ("files of the folder are not in the attribute list", self.unlisted)
        return [(why, files) for why, files in (listed, present) if files]

    def describe(self) -> str:
        counts = self._counts()
        each = ", ".join(f"{name} {counts[name]:,}" for name in self.labels.names)
        return f"{len(self.items):,} pictures ({each})"

    def findings(self, console: Console) -> list[Finding]:
        """Domains with far fewer pictures than others, and attributes of few or almost all
        pictures.
        """
        counts, findings = self._counts(), []
        for labels, members in zip(self.labels.sets, self.parts, strict=True):
            total, attributes = len(members), labels.kind == "attributes"
            most = max(counts[name] for name in labels.domains)
            for name in labels.domains:
                count = counts[name]
                if attributes and count in (0, total):
                    findings.append(Finding("error", _one_sided(name, count, total)))
                    continue
                few = count * 20 < total if attributes else count * 5 < most
                if few or (attributes and count * 20 > 19 * total):
                    what = (
                        f"{name} has {count:,} pictures of {total:,}, which makes it hard to learn."
                    )
                    findings.append(Finding("warning", what))
        return findings

    def obstacle(self) -> DataError | None:
        """Reports an attribute that all pictures have, or none: it can't be learned."""
        counts = self._counts()
        for labels, members in zip(self.labels.sets, self.parts, strict=True):
            for name in labels.domains if labels.kind == "attributes" else ():
                if counts[name] in (0, len(members)):
                    return DataError(_one_sided(name, counts[name], len(members)))
        return None

    def _counts(self) -> Counter[str]:
        """The number of pictures by domain. Names differ between the sets."""
        return Counter(name for _, _, names in self.items for name in names)


def _one_sided(name: str, count: int, total: int) -> str:
    """The message about an attribute that either all of `total` pictures have, or none."""
    whose = "All" if count else "None"
    return (
        f"{whose} of the {total:,} pictures have {name}, so it can't be learned. Leave out the "
        "attribute, or check that the list belongs to these pictures."
    )


def _read_domains(
    folder: Path, sources: Sources, left_over: PassedOver
) -> dict[str, tuple[Path, ...]]:
    """The pictures of each sub-folder by domain, the sub-folder's name."""
    beside(folder, left_over)
    outputs = PassedOver()
    domains: dict[str, Path] = {}
    for path in sorted(data_folders(folder, outputs), key=lambda path: nfc(path.name)):
        require_utf8(path)
        if nfc(path.name) in domains:
            raise DataError(
                f"{folder} has two sub-folders named {path.name}, in different Unicode forms. "
                "Merge them."
            )
        domains[nfc(path.name)] = path
    if len(domains) < 2:
        raise DataError(
            f"{folder} has {len(domains)} sub-folder(s), and there must be one for each of at "
            f"least two domains.{f' {outputs}.' if outputs.outputs else ''}"
        )
    left_over.add(outputs)
    return {name: pictures_of(path, sources.pages, left_over) for name, path in domains.items()}
