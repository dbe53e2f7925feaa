"""Transparent pictures for models that know none: what lies under the transparent pixels, and how
their alpha comes back.
"""

import numpy as np
from PIL import Image, ImageFilter

# Alpha that can hardly be seen. The colors there are what rounding has left of them: of a picture
# that was once multiplied by alpha (most are), every channel is 0 or 255 at alpha 1.
FAINT = 4
BAND = 2  # px; as far as a model's first layers mix what lies beside an edge into it
AROUND = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]


def is_hidden(alpha: np.ndarray) -> np.ndarray:
    """bool [H, W]: where the color does not matter, and is not translated."""
    return alpha <= FAINT


def extend_colors(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The colors of visible pixels, continued over BAND that are not; white beyond.

    pixels: uint8 [H, W, C], not blended with anything; alpha: uint8 [H, W]. A ground would be mixed
    into the edge by the model, and would shine through once the alpha is back. The white beyond is
    what transparent pictures are trained on.
    """
    height, width = alpha.shape
    hidden = is_hidden(alpha)
    extended = np.where(hidden[..., None], np.uint8(255), pixels)
    weight = np.where(hidden, np.uint8(0), alpha)
    for _ in range(BAND):
        known = Image.fromarray((weight > 0) * np.uint8(255))
        wider = np.asarray(known.filter(ImageFilter.MaxFilter(3)))
        rows, columns = np.nonzero((wider > 0) & (weight == 0))
        total = np.zeros(len(rows), np.float32)
        colors = np.zeros((len(rows), pixels.shape[-1]), np.float32)
        for down, across in AROUND:
            y, x = (rows + down).clip(0, height - 1), (columns + across).clip(0, width - 1)
            total += weight[y, x]
            colors += weight[y, x, None] * extended[y, x].astype(np.float32)
        extended[rows, columns] = np.rint(colors / total[:, None]).astype(np.uint8)
        weight[rows, columns] = (total / len(AROUND)).clip(1, 255).astype(np.uint8)
    return extended


def on_white(pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """uint8 [H, W, 1 or 3] as it is seen on white; what has its alpha in it stays as it is."""
    if alpha is None or pixels.shape[-1] == 4:
        return pixels
    share = alpha[..., None].astype(np.uint16)
    return ((pixels * share + 255 * (255 - share) + 127) // 255).astype(np.uint8)
