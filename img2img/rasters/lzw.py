"""Whether the LZW data of a TIFF are sound, which the decoder of imagecodecs takes for granted: a
code that no earlier data define makes it read memory that is not its own.

TIFF 6.0, section 13: https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
"""

import numpy as np

from img2img.errors import DataError

CLEAR, END = 256, 257
MOST = 4096 - END  # codes that may follow a clear code, which fill the table
# Of the n-th code after a clear code: each after the first defines one more, and codes get another
# bit one code before that is needed.
NUMBERS = np.arange(MOST)
WIDTHS = 9 + np.searchsorted([2**bits - 2 - END for bits in (9, 10, 11)], NUMBERS)
ENDS = np.cumsum(WIDTHS)  # the bits up to the end of the n-th code
LARGEST = np.where(NUMBERS == 0, END, NUMBERS + END)
# Encoders clear the table when it is full, after thousands of codes. Data of more clear codes than
# these take long to check.
CLEARS, BITS_PER_CLEAR = 16, 9 * 64


def require_sound(content: bytes) -> None:
    """Raise DataError for a code that is not defined, for a table that overflows, and for more
    clear codes than any encoder writes.
    """
    packed = np.frombuffer(content + bytes(4), np.uint8).astype(np.uint32)
    at, bits = 0, 8 * len(content)
    clears, most = 0, CLEARS + bits // BITS_PER_CLEAR
    while at < bits:
        ends = at + ENDS[: np.searchsorted(ENDS, bits - at, "right")]
        if not len(ends):
            return  # fewer bits than a code has
        widths = WIDTHS[: len(ends)]
        first, skipped = np.divmod(ends - widths, 8)
        three_bytes = packed[first] << 16 | packed[first + 1] << 8 | packed[first + 2]
        codes = (three_bytes >> (24 - skipped - widths)) & (2**widths - 1)
        stops = np.flatnonzero((codes == CLEAR) | (codes == END))
        count = int(stops[0]) if len(stops) else len(codes)
        if (codes[:count] > LARGEST[:count]).any():
            raise DataError("its LZW data are damaged")
        if not len(stops):
            if len(codes) == MOST:
                raise DataError("its LZW data are damaged: the table overflows")
            return
        if codes[count] == END:
            return
        clears += 1
        if clears > most:
            raise DataError("its LZW data are damaged: they clear the table again and again")
        at = int(ends[count])
