"""Files of weights that are identified by their SHA-256."""

import hashlib
from pathlib import Path

from img2img.errors import DataError


def sha256(path: Path) -> str:
    """The file's SHA-256, in hexadecimal digits. Raises DataError if it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"The weights {path} can't be read ({error.strerror}).") from None


def checked(path: Path, beginning: str) -> str:
    """The file's SHA-256. Raises DataError if it does not start with `beginning`."""
    digest = sha256(path)
    if not digest.startswith(beginning):
        raise DataError(
            f"{path} is not the file that was expected: its SHA-256 begins with {digest[:8]}, not "
            f"with {beginning[:8]}."
        )
    return digest
