"""Checkpoints: written atomically, and loaded without executing code."""

import contextlib
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as as_safetensors
from torch import Tensor, nn

from img2img import checksum
from img2img.errors import FULL, DataError, Img2ImgError, told
from img2img.writing import temporary_name, whole_file

# Paths in the folder of a run.
LAST = Path("checkpoints", "last.pt")
PREVIOUS = LAST.with_name("previous.pt")  # the one before, in case that the last is damaged
DAMAGED = LAST.with_name("damaged.pt")  # a last one in whose place the one before was used
WEIGHTS = "weights.safetensors"
BEST = Path("checkpoints", "best.safetensors")


class NotWritten(Img2ImgError):
    """A file can't be written, for example because the disk is full. An older file is unchanged."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write the file atomically: an older one stays until the new one is complete on disk."""
    with _written(path) as temporary:
        torch.save(state, temporary)


@contextlib.contextmanager
def _written(path: Path) -> Iterator[Path]:
    """Like whole_file, but raises NotWritten for any error of the OS, torch or safetensors."""
    try:
        with whole_file(path) as temporary:
            yield temporary
    except OSError as error:
        raise NotWritten(f"{path} can't be written {told(error)}") from None
    except (RuntimeError, SafetensorError) as error:  # which hide the system's reason
        raise NotWritten(
            f"{path} can't be written ({str(error).splitlines()[0]}). {FULL}"
        ) from None


def exists(run: Path) -> bool:
    """Whether the run has a checkpoint, the last or the one before."""
    return (run / LAST).exists() or (run / PREVIOUS).exists()


def load_newest(run: Path, warn: Callable[[str], None]) -> tuple[Path, dict[str, Any]]:
    """The newest checkpoint of a run that is not damaged: its path and its content.

    warn: receives a sentence on the last one if that is damaged. Raises DataError if all are.
    """
    damaged: DataError | None = None
    for path in (run / LAST, run / PREVIOUS):
        if path.exists():
            try:
                state = load(path)
            except DataError as error:
                damaged = damaged or error
                continue
            if damaged:
                warn(f"{damaged} Going on from the one before, {path}.")
            return path, state
    raise damaged or DataError(f"{run} has no checkpoint.")


def save_newest(run: Path, state: dict[str, Any]) -> None:
    """Write the run's last checkpoint, and keep the one before. Raises NotWritten."""
    last, previous = run / LAST, run / PREVIOUS
    if last.exists():  # before the new one is written, so that the disk holds two, never three
        try:
            link = temporary_name(last.parent)
            link.hardlink_to(last)
            link.replace(previous)
        except OSError:  # a file system without hard links
            try:
                last.replace(previous)
            except OSError as error:
                raise NotWritten(f"{previous} can't be written {told(error)}") from None
    save(last, state)


def load(path: Path, require_checksums: bool = True) -> dict[str, Any]:
    """Load tensors and plain values onto the CPU. Raises DataError for any other content, and for
    content that does not match the checksums that torch writes beside each part, unless it was told
    not to (`require_checksums`: as it is in img2img's files).
    """
    _require_plain_zip(path, require_checksums)
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state
    except OSError as error:
        raise DataError(f"The checkpoint {path} can't be loaded ({error.strerror}).") from None
    except Exception as error:  # unpickling damaged bytes raises almost anything
        if foreign := re.search(r"GLOBAL ([\w.]+) was not an allowed", str(error)):
            raise DataError(_more_than_tensors(path, foreign[1])) from None
        raise DataError(
            f"The checkpoint {path} can't be loaded: it is damaged, or no checkpoint of torch."
        ) from None


def _more_than_tensors(path: Path, what: str) -> str:
    return (
        f"The checkpoint {path} contains more than tensors ({what}). Loading that would execute "
        "code from the file, so it is refused. Where it was made, save only the weights: "
        "torch.save(network.state_dict(), FILE)."
    )


def _require_plain_zip(path: Path, checksums: bool) -> None:
    """Refuse compressed archives: torch writes none, and a small one can fill the memory. With
    `checksums`, refuse those of which a part does not match its CRC-32, which torch writes and does
    not read.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != b"PK\x03\x04":  # torch, too, tells an archive by these bytes
                return
        with zipfile.ZipFile(path) as packed:
            records = packed.infolist()
            plain = all(record.compress_type == zipfile.ZIP_STORED for record in records)
            plain &= sum(record.file_size for record in records) <= path.stat().st_size
            changed = packed.testzip() if plain and checksums else None
    except OSError:
        return  # torch.load reports it
    except Exception:  # a damaged directory raises almost anything
        raise DataError(f"The checkpoint {path} can't be loaded: it is damaged.") from None
    if any("/code/" in record.filename for record in records):
        raise DataError(_more_than_tensors(path, "TorchScript"))
    if not plain:
        raise DataError(f"The checkpoint {path} is compressed, which torch never does.")
    if changed:
        raise DataError(
            f"The checkpoint {path} is damaged: the checksum of {changed} in it does not match."
        )


def save_weights(path: Path, generators: nn.Module, metadata: dict[str, str]) -> None:
    """Write the weights of the generators as safetensors, for export and for other runs."""
    tensors = {name: tensor.contiguous() for name, tensor in generators.state_dict().items()}
    content = as_safetensors(tensors, {**metadata, checksum.KEY: checksum.EMPTY})
    with _written(path) as temporary:
        temporary.write_bytes(checksum.seal(content))


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Returns the tensors by name, and the file's metadata. Raises DataError if the file is
    missing, damaged or not readable.
    """
    advice = "Copy it again from where it came from, or use other weights."
    try:
        checksum.require_intact(path.read_bytes(), path, advice)
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            metadata.pop(checksum.KEY, None)
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"The weights {path} can't be loaded ({reason}).") from None
    except SafetensorError as error:
        raise DataError(f"The weights {path} can't be loaded ({error}).") from None


def begin_with(generators: nn.Module, source: Path) -> None:
    """Load the weights of a .safetensors file, or the last ones of a run, into the generators.

    source: the file, or the folder of the run. If it has only one of two directions, the other
    generator stays as it is. Raises DataError if the weights don't fit the networks.
    """
    path = source / WEIGHTS if source.is_dir() else source
    if path.is_file() and path.suffix != ".safetensors":
        raise DataError(
            f"{path} is neither a run nor a .safetensors file of one. To make a run of a published "
            "generator: img2img import FILE"
        )
    tensors, _ = load_weights(path)
    directions = {name.partition(".")[0] for name in tensors}
    missing = {name for name in generators.state_dict() if name.partition(".")[0] in directions}
    missing ^= tensors.keys()
    try:
        if missing:
            raise RuntimeError(f"only one of the two has {min(missing)}")
        generators.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip().rstrip(".")
        raise DataError(
            f"The weights {path} don't fit the networks of this run: {reason}. Give it the "
            "same --mode, --generator, --width, --blocks or --levels, --norm, channels and number "
            "of domains."
        ) from None
