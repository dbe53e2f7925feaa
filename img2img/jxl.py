"""Parser for the header of a JPEG XL codestream (ISO/IEC 18181-1, annex D)."""

from dataclasses import dataclass

RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
# The options of a two-bit selector: a constant, and the number of bits whose value is added.
SIZE = ((1, 9), (1, 13), (1, 18), (1, 30))
PREVIEW_EIGHTHS = ((16, 0), (32, 0), (1, 5), (33, 9))
PREVIEW = ((1, 6), (65, 8), (321, 10), (1345, 12))
ANIMATION = (
    ((100, 0), (1000, 0), (1, 10), (1, 30)),  # ticks per second: numerator and denominator
    ((1, 0), (1001, 0), (1, 8), (1, 10)),
    ((0, 0), (0, 3), (0, 16), (0, 32)),  # loops
)
INTEGER_BITS = ((8, 0), (10, 0), (12, 0), (1, 6))
FLOAT_BITS = ((32, 0), (16, 0), (24, 0), (1, 6))
EXTRA_CHANNELS = ((0, 0), (1, 0), (2, 4), (1, 12))


@dataclass(frozen=True)
class JxlHeader:
    """The size in pixels, as stored, and what limits are checked on."""

    width: int
    height: int
    animated: bool = False
    extra_channels: int = 0  # besides grey or RGB; alpha is one


def read_jxl_header(stream: bytes) -> JxlHeader | None:
    """The header of a bare codestream; None where it is not one, or ends within the header."""
    if stream[:2] != b"\xff\x0a":
        return None
    try:
        bits = _Bits(stream[2:66])
        width, height = _size(bits)
        if bits.take(1):  # all fields have their defaults
            return JxlHeader(width, height)
        animated = False
        if bits.take(1):
            bits.take(3)  # orientation
            if bits.take(1):
                _size(bits)  # intrinsic size
            if bits.take(1):
                _preview(bits)
            if animated := bool(bits.take(1)):
                for choices in ANIMATION:
                    bits.choose(choices)
                bits.take(1)
        if bits.take(1):
            bits.choose(FLOAT_BITS)
            bits.take(4)
        else:
            bits.choose(INTEGER_BITS)
        bits.take(1)
        return JxlHeader(width, height, animated, bits.choose(EXTRA_CHANNELS))
    except EOFError:
        return None


class _Bits:
    """Reads bits of a stream, the lowest of each byte first; EOFError at its end."""

    def __init__(self, content: bytes):
        self.value, self.left = int.from_bytes(content, "little"), 8 * len(content)

    def take(self, count: int) -> int:
        if count > self.left:
            raise EOFError
        taken = self.value & ((1 << count) - 1)
        self.value, self.left = self.value >> count, self.left - count
        return taken

    def choose(self, choices: tuple[tuple[int, int], ...]) -> int:
        base, count = choices[self.take(2)]
        return base + self.take(count)


def _size(bits: _Bits) -> tuple[int, int]:
    eighths = bits.take(1)

    def side() -> int:
        return 8 * (bits.take(5) + 1) if eighths else bits.choose(SIZE)

    height = side()
    ratio = bits.take(3)
    if not ratio:
        return side(), height
    across, down = RATIOS[ratio]
    return height * across // down, height


def _preview(bits: _Bits) -> None:
    choices = PREVIEW_EIGHTHS if bits.take(1) else PREVIEW
    bits.choose(choices)
    if not bits.take(3):
        bits.choose(choices)
