"""Metrics of one picture against its ground truth: uint8 [H, W, C], both of the same size."""

from collections.abc import Sequence

import numpy as np

from img2img.errors import needs_extra


def l1(output: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute difference in [-1, 1] units."""
    return float(np.abs(output.astype(np.float32) - truth).mean() / 127.5)


def psnr(output: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, at most 100 (for equal pictures)."""
    error = np.square(output.astype(np.float64) - truth).mean()
    return float(min(10 * np.log10(255**2 / error), 100)) if error else 100.0


def ssim(output: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004) with its Gaussian window: 11x11, sigma 1.5 px."""
    return similarity(output, truth, 255)[0]


def similarity(
    output: np.ndarray, truth: np.ndarray, data_range: float
) -> tuple[float, np.ndarray]:
    """Structural similarity of two arrays [H, W, C] of any type, and its map [H, W, C].
    data_range: the difference of the largest and the smallest value that they can have.
    """
    try:
        from skimage.metrics import structural_similarity
    except ImportError as error:
        raise needs_extra("eval", error) from None
    mean, each = structural_similarity(  # type: ignore[no-untyped-call]  # none in skimage
        output,
        truth,
        channel_axis=2,
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return float(mean), each


def mean_picture(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of pictures uint8 [H, W, C] of the same size, pixel by pixel."""
    total = np.zeros(pictures[0].shape)
    for picture in pictures:
        total += picture
    return (total / len(pictures)).round().astype(np.uint8)
