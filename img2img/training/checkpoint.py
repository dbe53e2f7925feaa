"""Checkpoints: written whole, loaded without executing anything."""

import contextlib
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as as_safetensors
from torch import Tensor, nn

from img2img.errors import DataError, Img2ImgError
from img2img.files import whole_file

LAST = Path("checkpoints", "last.pt")  # in a run's folder
WEIGHTS = "weights.safetensors"  # too
BEST = Path("checkpoints", "best.safetensors")


class NotWritten(Img2ImgError):
    """The disk is full, or may not be written to; what was there is still there."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Replace the file in one move; what was there stays until the new one is on disk."""
    with _written(path) as temporary:
        torch.save(state, temporary)


@contextlib.contextmanager
def _written(path: Path) -> Iterator[Path]:
    """As whole_file, with NotWritten for what torch and safetensors raise in their own kinds."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            yield temporary
    except (OSError, RuntimeError, SafetensorError) as error:
        raise NotWritten(f"{path} can't be written ({str(error).splitlines()[0]}).") from None


def load(path: Path) -> dict[str, Any]:
    """Tensors and plain values only, on the CPU; DataError for anything else."""
    _require_plain_zip(path)
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state
    except OSError as error:
        raise DataError(f"The checkpoint {path} can't be loaded ({error.strerror}).") from None
    except Exception as error:  # unpickling damaged bytes raises almost anything
        if foreign := re.search(r"GLOBAL ([\w.]+) was not an allowed", str(error)):
            raise DataError(_more_than_tensors(path, foreign[1])) from None
        raise DataError(
            f"The checkpoint {path} can't be loaded: it is damaged, or not one of img2img's."
        ) from None


def _more_than_tensors(path: Path, what: str) -> str:
    return (
        f"The checkpoint {path} holds more than tensors ({what}), which only running its code "
        "could load, and that is not done. Where it was made, save the weights alone: "
        "torch.save(network.state_dict(), FILE)."
    )


def _require_plain_zip(path: Path) -> None:
    """torch never compresses; what does would fill the memory with what the file does not hold."""
    try:
        with path.open("rb") as file:
            if file.read(4) != b"PK\x03\x04":  # by which torch tells, too
                return
        with zipfile.ZipFile(path) as packed:
            records = packed.infolist()
    except OSError:
        return  # which torch tells
    except Exception:  # a listing that is not what it should be raises almost any
        raise DataError(f"The checkpoint {path} can't be loaded: it is damaged.") from None
    if any("/code/" in record.filename for record in records):
        raise DataError(_more_than_tensors(path, "TorchScript"))
    plain = all(record.compress_type == zipfile.ZIP_STORED for record in records)
    if not plain or sum(record.file_size for record in records) > path.stat().st_size:
        raise DataError(f"The checkpoint {path} is compressed, as none of torch's is.")


def save_weights(path: Path, generators: nn.Module, metadata: dict[str, str]) -> None:
    """The generators alone, as safetensors: the weights that travel."""
    tensors = {name: tensor.contiguous() for name, tensor in generators.state_dict().items()}
    with _written(path) as temporary:
        # safetensors' own writer takes a file of its own, which no one else may read.
        temporary.write_bytes(as_safetensors(tensors, metadata))


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, and the file's metadata; DataError where it is missing, damaged or may not
    be read.
    """
    try:
        path.open("rb").close()  # safetensors calls everything a missing file
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"The weights {path} can't be loaded ({reason}).") from None
    except SafetensorError as error:
        raise DataError(f"The weights {path} can't be loaded ({error}).") from None


def begin_with(generators: nn.Module, source: Path) -> None:
    """Give them the weights in a file of weights, or the last of a run, by its folder: of two
    directions to those that are there. DataError where they are of other networks.
    """
    path = source / WEIGHTS if source.is_dir() else source
    if path.is_file() and path.suffix != ".safetensors":
        raise DataError(
            f"{path} is no run and no .safetensors of one. A published generator becomes a run "
            "with: img2img import FILE"
        )
    tensors, _ = load_weights(path)
    there = {name.partition(".")[0] for name in tensors}
    missing = {name for name in generators.state_dict() if name.partition(".")[0] in there}
    missing ^= tensors.keys()
    try:
        if missing:
            raise RuntimeError(f"only one of them has {min(missing)}")
        generators.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip().rstrip(".")
        raise DataError(
            f"The weights {path} are of other networks than this run's: {reason}. Give it the "
            "same --mode, --generator, --width, --blocks or --levels, --norm, channels and number "
            "of domains."
        ) from None
