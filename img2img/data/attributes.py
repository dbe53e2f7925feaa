"""Attribute lists: which attributes each picture has, in CelebA's text format or as CSV."""

import csv
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

from img2img.errors import DataError
from img2img.files import PICTURE_SUFFIXES, PassedOver, find_pictures

# Names of the column of file names in lists, the most likely first.
FILE_COLUMNS = (
    *("image_id", "filename", "file_name", "image_name", "image", "file", "path", "img"),
    *("name", "id"),
)
WORDS = {"true": 1, "yes": 1, "false": None, "no": None}


def nfc(text: str) -> str:
    """The text in Unicode's composed form (NFC), since file systems and lists use either form."""
    return unicodedata.normalize("NFC", text)


@dataclass(frozen=True)
class Listed:
    """The pictures of a folder with their attributes, according to a list."""

    items: list[
        tuple[Path, tuple[str, ...]]
    ]  # in the list's order, with the attributes that they have
    missing: list[Path]  # listed, but not in the folder
    unlisted: list[Path]  # in the folder, but not listed


@dataclass(frozen=True)
class _Table:
    columns: list[str]  # without the column of file names
    rows: Iterator[tuple[int, str, list[str]]]  # line number, file name, the value of each column


def read_attributes(
    table: Path, folder: Path, names: tuple[str, ...], passed_over: PassedOver | None = None
) -> Listed:
    """Read a list of attributes for the pictures in `folder`.

    The list is in CelebA's text format (an optional count, a line of attribute names, and lines
    `file 1 -1 ...`) or CSV with a header, separated by commas, semicolons or tabs. Values are 1,
    true or yes, and 0, -1, false or no. passed_over: receives the folder's other files.

    Raises DataError, with the line number, for other values, for rows that contradict each other,
    for file names outside of `folder`, and for a list without one of `names`.
    """
    content = _read_table(table)
    unknown = [name for name in names if name not in content.columns]
    if unknown:
        raise DataError(
            f"{table} has no attribute {', '.join(unknown)}. "
            f"It has: {', '.join(content.columns[:50])}."
        )
    positions = {name: content.columns.index(name) for name in names}
    lookup = _Lookup(folder, passed_over)
    rows: dict[Path, tuple[int, tuple[str, ...]]] = {}
    missing: dict[Path, None] = {}
    negatives: dict[tuple[str, int], int] = {}  # attribute and 0 or -1: the first line with it
    for line, file, values in content.rows:
        where = f"{table}, line {line}"
        attributes = []
        for name, position in positions.items():
            value = _value(values[position], f"{where}, {name}")
            if value == 1:
                attributes.append(name)
            elif value is not None:
                negatives.setdefault((name, value), line)
        path = lookup.find(file, where)
        if path is None:
            missing[folder / file] = None
            continue
        first_line, first = rows.setdefault(path, (line, tuple(attributes)))
        if first != tuple(attributes):
            different = ", ".join(sorted(set(first) ^ set(attributes)))
            raise DataError(
                f"{table}: lines {first_line} and {line} contradict each other about {file!r} "
                f"({different}). Remove the wrong one."
            )
    _require_one_negative(table, names, negatives)
    if not rows:
        example = f" (for example {next(iter(missing)).name})" if missing else ""
        raise DataError(
            f"None of the {len(missing)} pictures that {table} lists is in {folder}{example}."
        )
    items = [(path, attributes) for path, (_, attributes) in rows.items()]
    unlisted = [path for path in lookup.pictures if path not in rows]
    return Listed(items, list(missing), unlisted)


def _require_one_negative(
    table: Path, names: tuple[str, ...], negatives: dict[tuple[str, int], int]
) -> None:
    """Raise DataError if a column has both 0 and -1: in some lists (MAAD-Face), 0 means unknown."""
    for name in names:
        if (name, 0) in negatives and (name, -1) in negatives:
            raise DataError(
                f"{table}: {name} is 0 in line {negatives[name, 0]} and -1 in line "
                f"{negatives[name, -1]}, and it is not clear which one means no. Use only one of "
                "them, and leave out pictures whose value is unknown."
            )


def _read_table(table: Path) -> _Table:
    """Read the list, with columns and file names in Unicode's composed form (NFC)."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"The attribute list {table} is not UTF-8. Save it as UTF-8.") from None
    except OSError as error:
        raise DataError(f"The attribute list {table} can't be read: {error}.") from None
    lines = nfc(text).split("\n")
    filled = [number for number, line in enumerate(lines) if line.strip()]
    count = None
    if filled and re.fullmatch(r"[0-9]{1,18}", lines[filled[0]].strip()):
        count = int(lines[filled.pop(0)].strip())  # int removes fewer kinds of white space
    if not filled:
        raise DataError(f"The attribute list {table} is empty.")
    start = filled[0]
    separator = _separator(lines[start])
    records = _records(table, lines, start, separator)
    heading, first = next(records, None), next(records, None)
    if heading is None:  # of separators alone
        raise DataError(f"The attribute list {table} is empty.")
    header = heading[1]
    file_column = _file_column(header, first[1] if first else [], separator)
    _require_names(table, header, file_column)
    columns = [name for index, name in enumerate(header) if index != file_column]

    def rows() -> Iterator[tuple[int, str, list[str]]]:
        read = 0
        for line, fields in chain([first] if first else [], records):
            read += 1
            if len(fields) != len(columns) + 1:
                hint = "" if separator else " If names contain spaces, write the list as CSV."
                raise DataError(
                    f"{table}, line {line}: {len(fields) - 1} values, but {len(columns)} "
                    f"attributes.{hint}"
                )
            file = fields.pop(file_column or 0)
            yield line, _inside(file, f"{table}, line {line}"), fields
        if count not in (None, read):
            raise DataError(
                f"According to its first line, {table} lists {count:,} pictures, but it lists "
                f"{read:,}. Get the complete list, or correct that line."
            )

    return _Table(columns, rows())


def _separator(header: str) -> str | None:
    """The separator of a CSV file; None for text whose fields are separated by spaces."""

    def fields(separator: str) -> int:
        try:
            return len(next(csv.reader([header], delimiter=separator, skipinitialspace=True)))
        except csv.Error:
            return 0

    best = max((",", ";", "\t"), key=fields)
    return best if fields(best) > 1 else None


def _records(
    table: Path, lines: list[str], start: int, separator: str | None
) -> Iterator[tuple[int, list[str]]]:
    """Yield line numbers and fields from line index `start` on, without empty lines."""
    if separator is None:
        for number, line in enumerate(lines[start:], start + 1):
            if line.strip():
                yield number, line.split()
        return
    reader = csv.reader(lines[start:], delimiter=separator, skipinitialspace=True, strict=True)
    number = start + 1  # first line of a record, whose quoted fields may have several
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                yield number, [field.strip() for field in fields]
            number = start + reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{table}, line {number}: {error}. Check its quotation marks.") from None


def _file_column(header: list[str], row: list[str], separator: str | None) -> int | None:
    """The index of the column of file names; None if the header names only the attributes, and so
    has one field less than a row. row: the first row.
    """
    lowered = [name.lower() for name in header]
    for name in FILE_COLUMNS:
        if name in lowered:
            return lowered.index(name)
    # A trailing separator in the rows adds a field, too, but an empty one.
    attributes_alone = len(row) == len(header) + 1 and row[-1]
    return None if separator is None or attributes_alone else 0


def _require_names(table: Path, header: list[str], file_column: int | None) -> None:
    counts = Counter(header)
    twice = [name for name, count in counts.items() if name and count > 1]
    if twice:
        raise DataError(f"{table} has two columns named {twice[0]}. Rename or remove one.")
    for index, name in enumerate(header):
        # A first column without a name is an index, as other tools write it.
        if not name and index != file_column and not (index == 0 and file_column):
            raise DataError(f"Column {index + 1} of {table} has no name. Name or remove it.")


def _value(text: str, where: str) -> int | None:
    """The value as 1, 0 or -1; None for false and no."""
    lowered = text.lower()
    if lowered in WORDS:
        return WORDS[lowered]
    if not re.fullmatch(r"[+-]?[01](\.0*)?", text):
        raise DataError(
            f"{where}: the value {text!r} is not one of 1, 0, -1, true, false, yes and no."
        )
    return int(float(text))


def _inside(file: str, where: str) -> str:
    """The file name as a path relative to the folder of pictures; DataError if it leads outside."""
    parts = re.split(r"[/\\]", file)
    if not file or not parts[0] or ".." in parts or re.match("[A-Za-z]:", file):
        raise DataError(
            f"{where}: {file!r} is not a file inside the folder of pictures. Write a path relative "
            "to it, without '..'."
        )
    return PurePosixPath(file).as_posix() if len(parts) > 1 else file


class _Lookup:
    """Finds listed names among the pictures of a folder: by the exact name, or without the suffix,
    or, for names without folders, in any sub-folder. Unicode forms do not matter.
    """

    def __init__(self, folder: Path, passed_over: PassedOver | None):
        self.folder = folder
        self.pictures = list(find_pictures(folder, passed_over=passed_over))
        self.tiers: dict[int, dict[str, list[Path]]] = {}  # by number, filled when first used

    def _tier(self, number: int) -> dict[str, list[Path]]:
        """The pictures by relative path (0), by name (2), or by these without suffix (1, 3)."""
        if number not in self.tiers:
            tier: dict[str, list[Path]] = {}
            for path in self.pictures:
                name = path.name if number > 1 else path.relative_to(self.folder).as_posix()
                key = os.path.splitext(name)[0] if number % 2 else name
                tier.setdefault(nfc(key), []).append(path)
            self.tiers[number] = tier
        return self.tiers[number]

    def find(self, file: str, where: str) -> Path | None:
        """The picture that a row refers to, or None; DataError if there are several."""
        names = [file]
        if file.startswith(f"{nfc(self.folder.name)}/"):
            names.append(file.partition("/")[2])  # relative to the parent folder
        for name in names:
            front, suffix = os.path.splitext(name)
            bare = front if suffix.lower() in PICTURE_SUFFIXES else name
            wanted = (name, bare) if "/" in name else (name, bare, name, bare)
            for number, key in enumerate(wanted):
                matches = self._tier(number).get(key, [])
                if len(matches) > 1:
                    raise DataError(
                        f"{where}: {file!r} may be {matches[0]} or {matches[1]}. Write the full "
                        "path, or remove one of the files."
                    )
                if matches:
                    return matches[0]
        # A file without a picture suffix is reported when it is decoded.
        path = self.folder / file
        return path if os.path.isfile(path) else None
