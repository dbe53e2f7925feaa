"""A SHA-256 in a file of weights or in a bundle, of the whole file but for these 64 digits.

It stands in the file's metadata, under KEY, so that it travels with the file: as a string of the
JSON header of safetensors, or of the `metadata_props` of ONNX.
"""

import hashlib
from pathlib import Path

from img2img.errors import DataError

KEY = "img2img.sha256"
EMPTY = "0" * 64  # the value with which a file is serialized before `seal`
# What is between the key and the digits: JSON's, and the tag and the length of protobuf.
BETWEEN = (b'":"', b"\x12\x40")


def seal(content: bytes) -> bytes:
    """The content of a file with its SHA-256 in place of EMPTY. Raises ValueError without KEY."""
    place = _place(content)
    if place is None:
        raise ValueError(f"the content has no {KEY}")
    digest = hashlib.sha256(content).hexdigest().encode()
    return content[:place] + digest + content[place + len(digest) :]


def require_intact(content: bytes, path: Path, advice: str) -> None:
    """Raises DataError, which ends with the advice, for content that is not what was sealed. A file
    without a checksum, of another program or of an early version, is taken as it is.
    """
    place = _place(content)
    if place is None:
        return
    parts, end = memoryview(content), place + len(EMPTY)
    digest = hashlib.sha256(parts[:place])
    digest.update(EMPTY.encode())
    digest.update(parts[end:])
    if digest.hexdigest().encode() != parts[place:end]:
        raise DataError(
            f"{path} is damaged, or was changed: its SHA-256 is not the one in its metadata "
            f"({KEY}). {advice}"
        )


def _place(content: bytes) -> int | None:
    """Where the digits of the SHA-256 begin; None in a file without."""
    key = content.rfind(KEY.encode())
    after = key + len(KEY)
    for between in BETWEEN if key >= 0 else ():
        if content.startswith(between, after):
            return after + len(between)
    return None
