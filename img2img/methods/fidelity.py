"""Losses that keep translations smooth, or close to their inputs, without a discriminator."""

from pathlib import Path
from typing import Annotated

import torch.nn.functional as F
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor

from img2img.features import NetworkName, three_channels
from img2img.methods.objectives import wide

BLOCK = 8  # pixels


class PictureLosses(BaseModel):
    """The weights of the losses on pictures, which all methods share (`Method.fidelity_terms`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    perceptual: float = Field(
        0.0,
        ge=0,
        description="Weight of the perceptual loss: the distance of frozen features of a picture "
        "to those of its target, or, without pairs, of its reconstruction to those of the input.",
    )
    perceptual_network: NetworkName = Field(
        "efficientnet-lite0",
        description="Frozen network of the perceptual loss: efficientnet-lite0, -lite1 or -lite2, "
        "or an ONNX or TorchScript file.",
    )
    perceptual_weights: Annotated[Path, AfterValidator(Path.absolute)] | None = Field(
        None,
        description="File with learned weights of the channels of the perceptual loss' network, "
        "with which the loss is LPIPS: safetensors, or a state dict of torch.",
    )
    ssim: float = Field(
        0.0,
        ge=0,
        description="Weight of 1 - MS-SSIM between a picture and its target, or, without pairs, "
        "between its reconstruction and the input.",
    )
    tv: float = Field(
        0.0,
        ge=0,
        description="Weight of the total variation of the outputs, which makes them smooth.",
    )
    self_regularization: float = Field(
        0.0,
        ge=0,
        description="Without pairs: weight of the L1 distance between an output and its input, "
        "which keeps what the discriminator has no clear reason to change.",
    )
    color: float = Field(
        0.0,
        ge=0,
        description="Without pairs: weight of the L1 distance between 8x8 averages of an output "
        "and of its input, which keeps colors in their places.",
    )
    edges: float = Field(
        0.0,
        ge=0,
        description="Without pairs: weight of 1 - the correlation of the gradients of an output "
        "and of its input, which keeps edges in their places.",
    )


def l1(a: Tensor, b: Tensor) -> Tensor:
    """The mean absolute difference, a scalar, in full precision."""
    return (wide(a) - wide(b)).abs().mean()


def total_variation(image: Tensor) -> Tensor:
    """The mean absolute differences of neighbors in a column and in a row of [N, C, H, W], added, a
    scalar: the anisotropic form of Rudin et al. 1992, and, with beta = 1, of Mahendran and Vedaldi
    2015, section 3.
    """
    down, right = _slopes(wide(image))
    return down.abs().mean() + right.abs().mean()


def color_distance(output: Tensor, source: Tensor) -> Tensor:
    """The mean absolute difference between averages of images [N, C, H, W] over blocks of 8x8
    pixels, a scalar. It keeps colors in their places and allows any texture, as the color loss of
    Ignatov et al. 2017, section 3.1, does by blurring.
    """
    blurred = (
        F.avg_pool2d(wide(image), BLOCK, ceil_mode=True, count_include_pad=False)
        for image in (output, source)
    )
    a, b = blurred
    return (a - b).abs().mean()


def edge_distance(output: Tensor, source: Tensor, has_alpha: bool = True) -> Tensor:
    """1 - the normalized cross-correlation of the gradient magnitudes of the luminances of images
    [N, C, H, W], averaged over the pictures, a scalar in [0, 2]. has_alpha: see `three_channels`.

    It is the gradient-consistency loss of Hiasa et al. 2018, section 2.2, with the magnitude in
    place of the components, so that edges must stay where they are, and may change their sign.
    """
    a, b = (_centered(_edges(image, has_alpha)) for image in (output, source))
    energy = a.square().mean(1) * b.square().mean(1)
    return (1 - (a * b).mean(1) / (energy + 1e-10).sqrt()).mean()


def _edges(image: Tensor, has_alpha: bool) -> Tensor:
    """The gradient magnitude of the luminance at each pixel but the last row and column, [N, P]."""
    red, green, blue = wide(three_channels(image, has_alpha)).unbind(1)
    down, right = _slopes(0.299 * red + 0.587 * green + 0.114 * blue)  # ITU-R BT.601
    squares = down[..., :-1].square() + right[..., :-1, :].square()
    return (squares + 1e-6).sqrt().flatten(1)  # the root has no finite slope at 0


def _slopes(image: Tensor) -> tuple[Tensor, Tensor]:
    """The differences of [..., H, W] to the next row, [..., H - 1, W], and to the next column."""
    return image[..., 1:, :] - image[..., :-1, :], image[..., 1:] - image[..., :-1]


def _centered(values: Tensor) -> Tensor:
    """[N, P] minus the mean of each row."""
    return values - values.mean(1, keepdim=True)
