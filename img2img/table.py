"""Tables of what can be chosen by name: methods, networks, objectives, layouts of data.

A package adds a row through an entry point of the table's group. In its pyproject.toml:

    [project.entry-points."img2img.generators"]
    mine = "my_package.nets:MineConfig"
"""

import difflib
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from img2img.errors import UsageError

T = TypeVar("T")


class Table(Mapping[str, T]):
    """Names, and what they stand for. Names are listed without importing anything; a row is
    imported when it is looked up.

    Args:
        kind: what a row is, in the singular, for messages: "generator".
        group: the group of entry points by which other packages add rows.
        builtin: the rows of this package, name -> "module:attribute".
        base: the class, "module:attribute", of which a package's row is a subclass or an instance;
            "" where it may be anything.
    """

    def __init__(self, kind: str, group: str, builtin: Mapping[str, str], base: str = ""):
        self.kind, self.group = kind, group
        self._base = EntryPoint("base", base, group) if base else None
        self.builtin = tuple(builtin)
        self._builtin = {name: EntryPoint(name, target, group) for name, target in builtin.items()}

    @cached_property
    def _plugins(self) -> dict[str, list[EntryPoint]]:
        """The rows of installed packages; several of one name where packages clash."""
        rows: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            if point not in rows.setdefault(point.name, []):
                rows[point.name].append(point)
        return {name: rows[name] for name in sorted(rows)}

    def __getitem__(self, name: str) -> T:
        """The row of that name; a built-in one before a package's.

        Raises KeyError where there is none, UsageError where a package's can't be imported or is
        of another class, or where two packages bring it.
        """
        if name not in self:
            raise KeyError(name)
        if name in self._builtin:
            row: T = self._builtin[name].load()
            return row
        point, *others = self._plugins[name]
        if others:
            raise self._clash(name, [point, *others])
        try:
            row = point.load()
        except Exception as error:  # whatever the package's own code raises
            raise UsageError(
                f"The {self.kind} {name} of {_origin(point)} can't be loaded "
                f"({type(error).__name__}: {error}). Install another version of that package."
            ) from error
        base = self._base.load() if self._base else object
        if not (issubclass(row, base) if isinstance(row, type) else isinstance(row, base)):
            raise UsageError(
                f"The {self.kind} {name} of {_origin(point)} is no {base.__name__}, as "
                f"{self.group} needs. Install another version of that package."
            )
        return row

    def __iter__(self) -> Iterator[str]:
        yield from self._builtin
        yield from (name for name in self._plugins if name not in self._builtin)

    def __len__(self) -> int:
        return len(self._builtin.keys() | self._plugins.keys())

    def __contains__(self, name: object) -> bool:
        # A file may have anything in the place of a name.
        return isinstance(name, str) and (name in self._builtin or name in self._plugins)

    def choose(self, name: str) -> T:
        """The row that a user named.

        Raises UsageError, with the names that are close to it, where there is none, and where
        several packages, this one among them, bring a row of that name.
        """
        if name not in self:
            near = difflib.get_close_matches(str(name), list(self), 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise UsageError(f"There is no {self.kind} {name}; there are {', '.join(self)}.{hint}")
        rows = [*self._plugins.get(name, [])]
        if name in self._builtin:
            rows.insert(0, self._builtin[name])
        if len(rows) > 1:
            raise self._clash(name, rows)
        return self[name]

    def origin(self, name: str) -> str:
        """The package that brings the row, and the object that it names; nothing is imported."""
        point = self._builtin[name] if name in self._builtin else self._plugins[name][0]
        return _origin(point)

    def _clash(self, name: str, rows: list[EntryPoint]) -> UsageError:
        origins = " and ".join(_origin(row) for row in rows)
        return UsageError(
            f"The {self.kind} {name} is in {origins}. Uninstall one of the packages, or rename its "
            "entry point."
        )


def _origin(point: EntryPoint) -> str:
    """The package and the object that an entry point names."""
    package = f"{point.dist.name} {point.dist.version}" if point.dist else "img2img itself"
    return f"{package} ({point.value})"
