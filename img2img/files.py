"""Finding the pictures in a folder, the names of files, and the usable cores."""

import csv
import json
import os
import re
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from img2img import control_groups
from img2img.errors import DataError

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"}
    | {".heic", ".heif", ".jxl", ".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm"}
)
# Of values that are no pictures where photographs are beside them, such as features.
VALUE_SUFFIXES = frozenset({".npy", ".npz", ".dcm", ".nii", ".nii.gz"})
SLIDE_SUFFIXES = frozenset({".svs"})
# For messages.
KINDS = "jpg, png, webp, bmp, tiff, gif, avif, heic, jp2, jxl, ppm, npy, npz, dcm, nii"
# The first bytes of pictures, to recognize files without a suffix.
SIGNATURE = re.compile(
    rb"\xff\xd8\xff"  # JPEG
    rb"|\x89PNG\r\n\x1a\n"
    rb"|GIF8[79]a"
    rb"|RIFF.{4}WEBP"
    rb"|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"  # BMP: the header's known lengths
    rb"|II[*+]\0|MM\0[*+]"  # TIFF, BigTIFF
    rb"|.{4}ftyp(?:avi[fs]|hei[cmsx]|hev[cx]|mif1|msf1)"  # AVIF, HEIF
    rb"|\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"  # JPEG 2000: file, bare codestream
    rb"|\0\0\0\x0cJXL \r\n\x87\n|\xff\n"  # JPEG XL: likewise
    rb"|P[1-6]\s+[#\d]",  # PNM
    re.DOTALL,
)
SIGNATURE_BYTES = 32

RECORD_FOLDER = ".img2img"  # in a folder of translations
RUN_FILE = "config.json"  # in a run's folder
# Thumbnails, deleted files and indexes that storage devices and operating systems put beside
# pictures; in lower case. Hidden files and folders (.thumbnails) are passed over anyway.
SYSTEM_NAMES = frozenset(
    {"@eadir", "#recycle", "#snapshot", "@__thumb", "@recycle", "@recently-snapshot"}
    | {"thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"}
    | {"__macosx", "icon\r", "network trash folder", "temporary items", "lost+found"}
)


@dataclass
class PassedOver:
    """What a search for pictures left out, for a message."""

    files: Counter[str] = field(default_factory=Counter)  # by suffix, or by what they are
    outputs: list[Path | str] = field(default_factory=list)  # folders, or URLs, that img2img wrote

    def add(self, other: "PassedOver") -> None:
        """Count what another search left out, too."""
        self.files.update(other.files)
        self.outputs.extend(other.outputs)

    def __str__(self) -> str:
        """ "3 files passed over: 2 .mp4, 1 .pdf"; empty where nothing was left out."""
        sentences = []
        if total := self.files.total():
            ordered = sorted(self.files.items(), key=lambda item: (-item[1], item[0]))
            kinds = [f"{count:,} {kind}" for kind, count in ordered[:6]]
            if rest := sum(count for _, count in ordered[6:]):
                kinds.append(f"{rest:,} others")
            files = "file" if total == 1 else "files"
            sentences.append(f"{total:,} {files} passed over: {', '.join(kinds)}")
        if self.outputs:
            folders = "folder" if len(self.outputs) == 1 else "folders"
            sentences.append(
                f"{len(self.outputs):,} {folders} that img2img wrote passed over "
                f"(first: {self.outputs[0]})"
            )
        return "; ".join(sentences)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file that a process may be writing, as text; none if there is no file. A
    last line that is being written, or whose writer was killed, is left out.
    """
    try:
        file = path.open(newline="", errors="replace")
    except FileNotFoundError:
        return []
    with file:
        return list(csv.DictReader(line for line in file if line.endswith(("\n", "\r"))))


def walk(
    folder: Path,
    unreadable: list[Path] | None = None,
    passed_over: PassedOver | None = None,
    enters: Callable[[str], bool] = lambda path: True,
) -> Iterator[os.DirEntry[str]]:
    """The files below `folder` that may be data, in a fixed order; those in linked folders last.

    Hidden files and folders, SYSTEM_NAMES, and folders that img2img wrote are left out: runs, and
    translations (unless `folder` itself is a folder of translations). Links to folders are
    followed, but no folder is visited twice.

    Args:
        unreadable: receives the folders that can't be listed; without it they raise OSError.
        passed_over: receives the folders that img2img wrote.
        enters: whether to visit a sub-folder, by its path; others are not reported.
    """
    visited: set[tuple[int, int] | str] = set()
    linked = deque([str(folder)])
    of_translations = (folder / RECORD_FOLDER).is_dir()

    def visit(place: str, named: bool) -> Iterator[os.DirEntry[str]]:
        try:
            status = os.stat(place)
            # Some network file systems have no inode numbers.
            identity = (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(place)
            if identity in visited:
                return
            visited.add(identity)
            with os.scandir(place) as entries:
                waiting = sorted(entries, key=lambda entry: entry.name, reverse=True)
        except OSError:
            if unreadable is None:
                raise
            unreadable.append(Path(place))
            return
        marks = {entry.name for entry in waiting if entry.name in (RECORD_FOLDER, RUN_FILE)}
        if not named and (
            _is_run(place, marks) or (RECORD_FOLDER in marks and not of_translations)
        ):
            if passed_over is not None:
                passed_over.outputs.append(Path(place))
            return
        while waiting:  # popped, so that memory is freed while a million entries are visited
            entry = waiting.pop()
            if is_hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                if enters(entry.path):
                    yield from visit(entry.path, False)
            elif entry.is_symlink() and os.path.isdir(entry.path):
                if enters(entry.path):
                    linked.append(entry.path)
            else:
                yield entry

    named = True
    while linked:
        yield from visit(linked.popleft(), named)
        named = False


def find_pictures(
    folder: Path,
    unreadable: list[Path] | None = None,
    passed_over: PassedOver | None = None,
    slides: bool = False,
) -> Iterator[Path]:
    """Picture files below `folder`, by suffix, or by their first bytes where they have no suffix.

    Files of VALUE_SUFFIXES are pictures if there are no others. Folders and arguments are those of
    `walk`; passed_over also receives the files that are not pictures. slides: whether files of
    SLIDE_SUFFIXES are pictures, too.
    """
    values: list[str] = []
    alone = True
    for entry in walk(folder, unreadable, passed_over):
        suffix = _suffix(entry.name)
        if suffix in VALUE_SUFFIXES and _is_file(entry):
            values.append(entry.path)
        elif (slides and suffix in SLIDE_SUFFIXES) or is_picture(entry, passed_over):
            alone = False
            yield Path(entry.path)
    if alone:
        yield from map(Path, values)
    elif passed_over is not None:
        passed_over.files.update(_suffix(path) for path in values)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden or a system's, and so not data."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def is_picture(entry: os.DirEntry[str], passed_over: PassedOver | None = None) -> bool:
    """Whether an entry is a picture file. Others are counted in passed_over."""
    suffix = _suffix(entry.name)
    if (suffix in PICTURE_SUFFIXES or not suffix) and not _is_file(entry):
        kind = "linked to a missing file" if entry.is_symlink() else "not a regular file"
    elif suffix in PICTURE_SUFFIXES or (not suffix and SIGNATURE.match(_head(entry.path))):
        return True
    else:
        kind = suffix or "without suffix"
    if passed_over is not None:
        passed_over.files[kind] += 1
    return False


def is_picture_name(name: str, head: Callable[[], bytes]) -> bool:
    """Like `is_picture` for a file in an archive; `head` reads its first SIGNATURE_BYTES."""
    suffix = _suffix(name)
    return suffix in PICTURE_SUFFIXES or (not suffix and bool(SIGNATURE.match(head())))


def beside(folder: Path, passed_over: PassedOver | None = None) -> list[Path]:
    """The picture files in the folder itself, not in its sub-folders.

    passed_over: receives the other files.
    """
    entries = walk(folder, enters=lambda path: False)
    return [Path(entry.path) for entry in entries if is_picture(entry, passed_over)]


def is_output(folder: Path) -> bool:
    """Whether img2img wrote the folder: a run, translations, or a folder of these only.

    Raises OSError where it can't be listed.
    """
    names = set(os.listdir(folder))
    if RECORD_FOLDER in names or _is_run(str(folder), names):
        return True
    ignored = PassedOver()
    return not any(find_pictures(folder, passed_over=ignored)) and bool(ignored.outputs)


def data_folders(folder: Path, passed_over: PassedOver | None = None) -> list[Path]:
    """The sub-folders that may be data, in a fixed order, by the rules of `walk`: without links to
    other sub-folders or to parents of the folder.

    passed_over: receives the folders that img2img wrote.
    """
    of_translations = (folder / RECORD_FOLDER).is_dir()
    data: list[Path] = []
    resolved, visited = folder.resolve(), set()
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_symlink(), path)):
        if is_hidden(path.name) or not path.is_dir():
            continue
        real = path.resolve()
        if real in visited or resolved.is_relative_to(real):
            continue
        visited.add(real)
        if of_translations or not is_output(path):
            data.append(path)
        elif passed_over is not None:
            passed_over.outputs.append(path)
    return sorted(data)


def pictures(
    folder: Path, passed_over: PassedOver | None = None, slides: bool = False
) -> tuple[Path, ...]:
    """Every picture below the folder. Raises DataError where it is missing or has none.

    passed_over: receives everything else. slides: whether those are pictures, too.
    """
    require_folder(folder)
    ignored = PassedOver()
    paths = tuple(find_pictures(folder, passed_over=ignored, slides=slides))
    if not paths:
        raise no_pictures(folder, ignored)
    if passed_over is not None:
        passed_over.add(ignored)
    return paths


def no_pictures(where: Path | str, ignored: PassedOver) -> DataError:
    """The error for a folder or a glob without pictures."""
    more = f" {ignored}." if str(ignored) else ""
    if ignored.outputs:
        more += " Name such a folder itself to use the pictures in it."
    return DataError(f"{where} has no pictures ({KINDS}).{more}")


def by_name(folder: Path, passed_over: PassedOver | None = None) -> dict[str, Path]:
    """The folder's pictures by `stem`. Raises DataError where two have the same, or without any.

    passed_over: receives everything else.
    """
    return by_key((stem(path, folder), path) for path in pictures(folder, passed_over))


def by_key(keyed: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """The paths by their keys. Raises DataError where two have the same."""
    paths: dict[str, Path] = {}
    for key, path in keyed:
        if key in paths:
            raise DataError(
                f"{paths[key]} and {path} have the same name without suffix, so it is not clear "
                "which of them to pair. Remove one."
            )
        paths[key] = path
    return paths


def stem(path: Path, folder: Path) -> str:
    """The relative path without suffix, by which the pictures of two folders are paired.

    Normalized to Unicode's NFC, because macOS writes names in NFD.
    """
    relative = path.relative_to(folder).as_posix()
    relative = relative[: len(relative) - len(split_suffix(relative)[1])]
    return relative if relative.isascii() else unicodedata.normalize("NFC", relative)


def named_files(inputs: Sequence[Path], passed_over: PassedOver) -> list[tuple[Path, Path]]:
    """Files, and the pictures and slides of folders, each with a name for an output: its path
    relative to the folder, or its own name. Raises DataError for a missing input, and for a folder
    without any. passed_over: receives everything else in the folders.
    """
    named: list[tuple[Path, Path]] = []
    for path in inputs:
        if path.is_dir():
            files = pictures(path, passed_over, slides=True)
            named += [(file, file.relative_to(path)) for file in files]
        elif path.exists():
            named.append((path, Path(path.name)))
        else:
            raise DataError(f"There is no file or folder {path}.")
    return named


def spread(count: int, length: int) -> list[int]:
    """Indices of `count` of `length` items, evenly spread; of all where there are fewer."""
    count = min(count, length)
    return [i * length // count for i in range(count)]


def cache_folder() -> Path:
    """The folder for files that are downloaded or built once."""
    return Path.home() / ".cache" / "img2img"


def require_folder(folder: Path) -> None:
    """Raises DataError where there is no such folder."""
    if not folder.is_dir():
        hint = " Shards (.tar) are for --a, --b and --pairs of train, and for check."
        hint = hint if folder.name.lower().endswith(".tar") else ""
        raise DataError(f"There is no folder {folder}.{hint}")


def require_utf8(path: Path) -> None:
    """Raises DataError for a path that is not UTF-8, which Linux allows and JSON does not."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{path.absolute()}: this name is not UTF-8, so a run's files can't contain it. Rename "
            "the folder."
        ) from None


def usable_cores() -> int:
    """The cores that this process may use: in a container, fewer than the machine has. Of a quota
    of 2.5 cores, 2, because a third thread would be stopped for half of the time, and the others
    would wait for it; at least 1.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = control_groups.cores()
    return cores if quota is None else max(1, min(cores, int(quota)))


def split_suffix(path: str) -> tuple[str, str]:
    """A path without its suffix, and the suffix; .nii.gz is one."""
    stem, suffix = os.path.splitext(path)
    if suffix.lower() == ".gz" and stem.lower().endswith(".nii"):
        return stem[:-4], stem[-4:] + suffix
    return stem, suffix


def _suffix(name: str) -> str:
    return split_suffix(name)[1].lower().rstrip(".")


def _head(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(SIGNATURE_BYTES)
    except OSError:  # a file without suffix that can't be read is not taken for a picture
        return b""


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def is_run_config(content: bytes) -> bool:
    """Whether the content of a config.json is that of a run."""
    try:
        config = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(config, dict) and {"mode", "method", "sources"} <= config.keys()


def _is_run(folder: str, names: set[str]) -> bool:
    """Whether a folder with these files is a run's, by the contents of its config.json."""
    if RUN_FILE not in names:
        return False
    try:
        with open(os.path.join(folder, RUN_FILE), "rb") as file:
            return is_run_config(file.read(2**20))
    except OSError:
        return False
