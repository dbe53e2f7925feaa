"""Gray pictures, and pictures with transparency, as frozen feature networks take them."""

from torch import Tensor


def three_channels(picture: Tensor) -> Tensor:
    """[N, 1, 3 or 4, H, W] in [-1, 1] -> [N, 3, H, W] in [-1, 1]. Gray is repeated; RGBA is laid
    over gray (0).
    """
    if picture.shape[1] == 4:
        return picture[:, :3] * (picture[:, 3:] + 1) / 2
    return picture.expand(-1, 3, -1, -1)
