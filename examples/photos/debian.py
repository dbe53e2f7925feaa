"""Read Debian packages: their files, Qt resource archives among them, and what licenses they have.

Everything is read in memory. Nothing of a package is installed or run.
"""

import fnmatch
import io
import re
import struct
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple

COMPRESSED, DIRECTORY, COMPRESSED_ZSTD = 1, 2, 4  # flags of an entry of a Qt resource archive


def read_deb(path: Path) -> dict[str, bytes]:
    """Name -> content of the regular files of a Debian package, without the leading `./`."""
    with path.open("rb") as deb:
        if deb.read(8) != b"!<arch>\n":
            raise ValueError(f"{path} is not a Debian package")
        while header := deb.read(60):
            name, size = header[:16].decode().strip().rstrip("/"), int(header[48:58])
            content = deb.read(size + size % 2)[:size]  # members begin at even offsets
            if name.startswith("data.tar"):
                with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                    return {
                        member.name.removeprefix("./"): reader.read()
                        for member in tar
                        if member.isfile() and (reader := tar.extractfile(member))
                    }
    raise ValueError(f"{path} has no data")


def read_resources(content: bytes) -> dict[str, bytes]:
    """Name -> content of the files of a Qt resource archive (.rcc).

    Format: Qt's rcc.cpp, versions 1 to 3. Files that are compressed with Zstandard are left out.
    """
    magic, version, tree, data, names = struct.unpack_from(">4s4I", content)
    if magic != b"qres":
        raise ValueError("not a Qt resource archive")
    entry_size = 14 if version < 2 else 22
    files: dict[str, bytes] = {}

    def name_of(offset: int) -> str:
        (length,) = struct.unpack_from(">H", content, names + offset)
        start = names + offset + 6  # behind the length and a hash
        return content[start : start + 2 * length].decode("utf-16-be")

    def walk(number: int, parent: PurePosixPath) -> None:
        at = tree + number * entry_size
        name_offset, flags = struct.unpack_from(">IH", content, at)
        path = parent / name_of(name_offset) if number else parent
        if flags & DIRECTORY:
            count, first = struct.unpack_from(">II", content, at + 6)
            for child in range(first, first + count):
                walk(child, path)
        elif not flags & COMPRESSED_ZSTD:
            (offset,) = struct.unpack_from(">I", content, at + 10)
            (size,) = struct.unpack_from(">I", content, data + offset)
            raw = content[data + offset + 4 : data + offset + 4 + size]
            # qCompress puts the length of the content before the zlib stream.
            files[str(path)] = zlib.decompress(raw[4:]) if flags & COMPRESSED else raw

    walk(0, PurePosixPath())
    return files


class License(NamedTuple):
    name: str  # as debian/copyright has it: public-domain, CC0-1.0, CC-BY-SA-3.0, GPL-3+
    author: str
    source: str
    pattern: str  # the line of debian/copyright that the file falls under
    exact: bool  # whether the line fits the file's name with its suffix


class Licenses:
    """What a machine-readable debian/copyright says of each file.

    Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
    """

    def __init__(self, text: str) -> None:
        self.stanzas: list[tuple[list[str], License]] = []
        for stanza in re.split(r"\n[ \t]*\n", text):
            fields: dict[str, list[str]] = {}
            lines: list[str] = []
            for line in stanza.splitlines():
                if field := re.match(r"([A-Za-z][\w-]*):(.*)", line):
                    lines = fields[field[1].lower()] = []
                    line = field[2]
                lines.append(line.strip())
            if "files" in fields and fields.get("license"):
                author = "; ".join(filter(None, fields.get("copyright", [])))
                source = " ".join(filter(None, fields.get("comment", [])))
                license = License(fields["license"][0], author, source, "", False)
                self.stanzas.append((" ".join(fields["files"]).split(), license))

    def of(self, path: str) -> License:
        """The license of a file: that of the last line that fits, whatever the file's suffix is.

        Packages convert their pictures, so that line and file often differ in the suffix. Such a
        line may be of a picture that has been replaced since: it is not `exact`.
        """
        stem = _without_suffix(path)
        license = License("unknown", "", "", "", False)
        for patterns, stanza in self.stanzas:
            for pattern in patterns:
                exact = fnmatch.fnmatchcase(path, pattern)
                if exact or fnmatch.fnmatchcase(stem, _without_suffix(pattern)):
                    license = stanza._replace(pattern=pattern, exact=exact)
        return license


def _without_suffix(path: str) -> str:
    return re.sub(r"\.(jpe?g|png|webp)$", "", path, flags=re.IGNORECASE)
