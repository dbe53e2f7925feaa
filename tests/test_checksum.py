"""The checksum that a file carries in its metadata."""

from pathlib import Path

import pytest

from img2img.checksum import EMPTY, KEY, require_intact, seal
from img2img.errors import DataError

JSON = b'{"' + KEY.encode() + b'":"' + EMPTY.encode() + b'"} and the values'
PROTOBUF = b"values \x0a\x0e" + KEY.encode() + b"\x12\x40" + EMPTY.encode() + b" the end"


@pytest.mark.parametrize("content", [JSON, PROTOBUF])
def test_every_flipped_bit_is_noticed_in_values_and_checksum(content):
    sealed = seal(content)
    require_intact(sealed, Path("m"), "Copy it again.")
    name = sealed.index(KEY.encode())
    for place in range(len(sealed)):
        if place in range(name, name + len(KEY) + 3):
            continue  # without the name there is no checksum, and all else is as it was
        for bit in range(8):
            changed = bytearray(sealed)
            changed[place] ^= 1 << bit
            with pytest.raises(DataError, match=r"^m is damaged, or was changed.*Copy it again\.$"):
                require_intact(bytes(changed), Path("m"), "Copy it again.")


def test_a_file_without_a_checksum_is_taken_as_it_is():
    require_intact(b"of another program", Path("m"), "")
    require_intact(b"", Path("m"), "")


def test_a_file_without_the_place_for_it_is_not_sealed():
    with pytest.raises(ValueError, match=KEY):
        seal(b"no place")
