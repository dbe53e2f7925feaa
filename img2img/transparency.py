"""Transparent pictures for models without alpha: which colors the model sees at transparent pixels,
and how the alpha is restored.
"""

import numpy as np
from PIL import Image, ImageFilter

# Alpha up to which a pixel is practically invisible. Its color is mostly rounding error: in
# pictures that were once premultiplied (most were), every channel is 0 or 255 at alpha 1.
FAINT = 4
BAND = 2  # px; distance from which a model's first layers mix colors into an edge
OFFSETS = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]


def is_hidden(alpha: np.ndarray) -> np.ndarray:
    """bool [H, W]: the pixels that are invisible, so that their color is not translated."""
    return alpha <= FAINT


def extend_colors(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Replace the colors of hidden pixels: those of visible pixels are extended by BAND pixels, and
    the rest is white.

    pixels: uint8 [H, W, C], not blended with a background; alpha: uint8 [H, W]. The model would mix
    a background into the edges, where it would show when the alpha is restored. White, because
    models are trained on transparent pictures blended with white.
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
        for down, across in OFFSETS:
            y, x = (rows + down).clip(0, height - 1), (columns + across).clip(0, width - 1)
            total += weight[y, x]
            colors += weight[y, x, None] * extended[y, x].astype(np.float32)
        extended[rows, columns] = np.rint(colors / total[:, None]).astype(np.uint8)
        weight[rows, columns] = (total / len(OFFSETS)).clip(1, 255).astype(np.uint8)
    return extended


def on_white(pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """uint8 [H, W, 1 or 3] blended with white. RGBA and opaque pictures are returned unchanged."""
    if alpha is None or pixels.shape[-1] == 4:
        return pixels
    opacity = alpha[..., None].astype(np.uint16)
    blended: np.ndarray = (pixels * opacity + 255 * (255 - opacity) + 127) // 255
    return blended.astype(np.uint8)
