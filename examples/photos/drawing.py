"""Line drawings of photographs: Canny's edges, of what is left when texture is smoothed away."""

import cv2
import numpy as np

SMOOTHING = 3  # rounds of the bilateral filter
SUPERSAMPLE = 2  # edges are sought and drawn this much larger, then averaged down: smooth lines
STRONG, WEAK = 60.0, 24.0  # Canny's thresholds, of the gradient of 8-bit Lab
SHORTEST = 24  # px of the enlarged picture: shorter lines are specks
LINE_PX = 1.5  # thickness of a line in the final picture


def edges_of(picture: np.ndarray) -> np.ndarray:
    """A drawing, black on white, uint8 [H, W], of a picture, uint8 [H, W, 3], RGB."""
    smooth = picture
    for _ in range(SMOOTHING):
        smooth = cv2.bilateralFilter(smooth, 7, 40, 5)
    height, width = picture.shape[:2]
    large = cv2.resize(
        smooth, (width * SUPERSAMPLE, height * SUPERSAMPLE), interpolation=cv2.INTER_CUBIC
    )
    # Of lightness and of both axes of color: red and green may be equally light.
    lab = cv2.GaussianBlur(cv2.cvtColor(large, cv2.COLOR_RGB2LAB), (0, 0), 1.6)
    gradients = [
        (cv2.Sobel(channel, cv2.CV_16S, 1, 0), cv2.Sobel(channel, cv2.CV_16S, 0, 1))
        for channel in cv2.split(lab)
    ]
    edges = np.maximum.reduce(
        [cv2.Canny(x, y, WEAK, STRONG, L2gradient=True) for x, y in gradients]
    )
    edges = without_specks(edges)
    thickness = round(LINE_PX * SUPERSAMPLE)
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thickness, thickness))
    return cv2.resize(255 - cv2.dilate(edges, brush), (width, height), interpolation=cv2.INTER_AREA)


def without_specks(edges: np.ndarray) -> np.ndarray:
    """Edges, uint8 [H, W] of 0 and 255, without connected ones of less than SHORTEST pixels."""
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(edges, connectivity=8)
    long = statistics[:, cv2.CC_STAT_AREA] >= SHORTEST
    long[0] = False  # the background
    return np.where(long[labels], np.uint8(255), np.uint8(0))
