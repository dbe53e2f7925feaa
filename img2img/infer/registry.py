"""Finding a model by its name: a path, one that ships or was added, one in ./weights or ./runs."""

import hashlib
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from img2img import locks
from img2img.errors import DataError, UsageError, install_command
from img2img.files import RUN_FILE, is_hidden
from img2img.writing import whole_files

PACKAGE = Path(__file__).parents[1]
MODELS = "img2img_gan_models"  # the package that has the models where the wheel has none
SUMS = "SHA256SUMS"
MORE = install_command("models")
WEIGHTS = (
    ".pth",
    ".pt",
    ".ckpt",
    ".tar",
    ".safetensors",
    ".bin",
    ".pkl",
)  # suffixes of torch's files


@dataclass(frozen=True)
class Entry:
    """A bundle and its name; sha256 where a SHA256SUMS file beside it has it."""

    name: str
    path: Path
    sha256: str | None = None


def shipped(folder: str) -> Path:
    """The shipped folder `weights` or `quickstart`: beside the package in a checkout, in the
    package of the models, or inside the wheel, which may have no weights, and test pictures alone.
    """
    if (PACKAGE.parent / "pyproject.toml").is_file():
        return PACKAGE.parent / {"quickstart": "examples/quickstart"}.get(folder, folder)
    models = find_spec(MODELS)
    if models and models.origin and (there := Path(models.origin).parent / folder).is_dir():
        return there
    return PACKAGE / "shipped" / folder


def added() -> Path:
    """The folder of the models that the user has added, for use from all folders."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "img2img" / "models"


def entries(runs: Path = Path("runs")) -> Iterator[Entry]:
    """Every model that can be named in the current folder, shipped ones first: those of a folder in
    the order of its SHA256SUMS, then others by name.
    """
    folders = [shipped("weights"), added(), Path("weights")]
    for folder in dict.fromkeys(f.resolve() for f in folders if f.is_dir()):
        sums = _sums(folder)
        bundles = {path.name: path for path in sorted(folder.glob("*.onnx"))}
        for name in dict.fromkeys([*(name for name in sums if name in bundles), *bundles]):
            yield Entry(bundles[name].stem, bundles[name], sums.get(name))
    if runs.is_dir():
        for run in sorted(path for path in runs.iterdir() if not is_hidden(path.name)):
            for path in sorted((run / "export").glob("*.onnx")):
                yield Entry(path.stem, path)


def add(path: Path, content: bytes) -> Entry:
    """Copy a bundle into the folder of added models, and list its digest there.

    Raises UsageError where another model has its name, or another process adds one.
    """
    folder, name = added(), path.stem
    digest_of_content = hashlib.sha256(content).hexdigest()
    with locks.held(folder / ".lock", "A model is being added"):
        for taken in (shipped("weights") / f"{name}.onnx", folder / f"{name}.onnx"):
            if taken.exists():
                raise UsageError(
                    f"There is a model {name} already: {taken}. Rename {path}, or delete that file "
                    "if you have added it."
                )
        sums = {**_sums(folder), f"{name}.onnx": digest_of_content}
        target = folder / f"{name}.onnx"
        with whole_files([target, folder / SUMS]) as [model, listed]:
            model.write_bytes(content)
            listed.write_text("".join(f"{each}  {file}\n" for file, each in sums.items()))
    return Entry(name, target, digest_of_content)


def find(model: str | Path, direction: str | None = None) -> Entry:
    """The bundle with this path or name; for a run's name or folder, its exported bundle.

    A model with two directions is stored as NAME-ab and NAME-ba; `direction` chooses one. Raises
    DataError where there is no such model, or its content does not match SHA256SUMS; UsageError
    where the direction is needed or not there; PermissionError where a folder can't be read.
    """
    path = Path(model)
    if path.is_file():
        if path.suffix in WEIGHTS:
            raise DataError(
                f"{path} holds a network's weights, not an exported model. To export a published "
                f"generator: img2img import {shlex.quote(str(path))}"
            )
        return require_intact(Entry(path.stem, path, _sums(path.parent).get(path.name)))
    known, name = _exported(path), path.resolve().name
    if not known and not (path.is_dir() and len(path.parts) > 1):  # not the folder of a run
        known = list(entries())
    matches = _named(known, name, direction)
    run = next((r for r in (path, Path("runs") / path) if _is_run(r)), path)
    if not matches:  # the run was renamed, or has only a bundle of another precision
        matches = _alone(_exported(run), direction)
    if not matches:
        if _is_run(run) and not _exported(run):
            quoted = shlex.quote(str(run))
            raise DataError(f"{run} has no model yet. Export it first: img2img export {quoted}")
        if direction and _named(known, name, None):
            raise UsageError(
                f"{model} does not translate {direction}. Omit --direction, or name another model."
            )
        names = ", ".join(dict.fromkeys(entry.name for entry in known or entries())) or "none yet"
        absent = "" if shipped("weights").is_dir() else f" To install those that ship: {MORE}"
        raise DataError(
            f"There is no model {model}. Give an .onnx file, the folder of a run, or one of the "
            f"names that are known here: {names}.{absent}"
        )
    exact = [entry for entry in matches if entry.name == name]
    if not exact and len({entry.name for entry in matches}) > 1:
        names = " or ".join(entry.name for entry in matches)
        raise UsageError(f"{model} has two directions: choose one with --direction, or -m {names}.")
    return require_intact((exact or matches)[0])


def require_intact(entry: Entry) -> Entry:
    """The entry. Raises DataError where SHA256SUMS lists the file with another digest."""
    if not entry.sha256 or not entry.path.is_file():
        return entry
    if digest(entry.path) != entry.sha256:
        raise DataError(
            f"{entry.path} is damaged: its SHA-256 is not the one in {SUMS}. Install it again, or, "
            "if you have changed it, correct its line there."
        )
    return entry


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns)


@cache
def _digest(path: Path, size: int, changed: int) -> str:
    """The SHA-256 of a file, computed once for each of its versions."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_run(path: Path) -> bool:
    return (path / RUN_FILE).exists() or bool(_exported(path))


def _exported(run: Path) -> list[Entry]:
    """The bundles of a run's folder; none where there is no such folder."""
    try:
        names = os.listdir(run / "export")
    except (FileNotFoundError, NotADirectoryError):
        return []
    paths = [run / "export" / name for name in sorted(names) if name.endswith(".onnx")]
    return [Entry(path.stem, path) for path in paths]


def _named(known: list[Entry], name: str, direction: str | None) -> list[Entry]:
    wanted = {f"{name}-{direction}"} if direction else {name, f"{name}-ab", f"{name}-ba"}
    if direction in (None, "ab"):
        wanted.add(name)
    return [entry for entry in known if entry.name in wanted]


def _alone(exported: list[Entry], direction: str | None) -> list[Entry]:
    """A run's bundles, whatever their names, if there is only one, or one for each direction."""
    bases: dict[str, Entry] = {}  # by name without the precision; the shortest name is fp32
    for entry in sorted(exported, key=lambda entry: len(entry.name)):
        base = entry.name.removesuffix("-fp16").removesuffix("-int8")
        bases.setdefault(base, entry)
    if len({base.removesuffix("-ab").removesuffix("-ba") for base in bases}) != 1:
        return []
    ways = {
        base[-3:] if base[-3:] in ("-ab", "-ba") else "-ab": entry for base, entry in bases.items()
    }
    return [entry for way, entry in ways.items() if direction in (None, way[1:])]


def require_direction(direction: str | None, actual: str, path: Path) -> None:
    """Raises UsageError where a bundle translates in another direction than requested."""
    if direction and actual != direction:
        raise UsageError(f"{path} translates {actual}, not {direction}: omit --direction.")


def _sums(folder: Path) -> dict[str, str]:
    """Digests by file name, from the output of `sha256sum`: a digest, two spaces, a file name. With
    `sha256sum ./*`, names begin with ./
    """
    path = folder / SUMS
    if not path.exists():
        return {}
    pairs = (line.split(maxsplit=1) for line in path.read_text(errors="replace").splitlines())
    return {
        pair[1].lstrip("*").removeprefix("./"): pair[0].lower() for pair in pairs if len(pair) == 2
    }
