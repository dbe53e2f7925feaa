"""Shards, as the tests make them."""

import io
import tarfile
from pathlib import Path


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    """A tar file with these members, in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_shards(folder: Path, into: Path, count: int) -> Path:
    """The files of a folder dealt out to shards 0, 1, ..., in reverse; returns their source."""
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    names = sorted(files, reverse=True)
    for number in range(count):
        chosen = {name: files[name] for name in names[number::count]}
        write_tar(into / f"{folder.name}-{number}.tar", chosen)
    return into / f"{folder.name}-{{0..{count - 1}}}.tar"
