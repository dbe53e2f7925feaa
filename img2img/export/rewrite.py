"""Rewrites of networks before export, into operations that runtimes compute fast and exactly."""

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from img2img.infer.openvino import subpixel_kernel
from img2img.nets.modulated import Modulated
from img2img.nets.resample import NearestConvolution

M = TypeVar("M", bound=nn.Module)


class SubPixel(nn.Module):
    """A transposed convolution of kernel 4, stride 2 and padding p >= 1, computed as a convolution
    and a pixel shuffle (Shi et al. 2016): [N, C, H, W] -> [N, C', 2 (H + 1 - p), 2 (W + 1 - p)].

    Runtimes have integer kernels for convolutions, and none for transposed ones.
    """

    def __init__(self, transposed: nn.ConvTranspose2d):
        super().__init__()
        weight, bias = subpixel_kernel(transposed.weight.detach().numpy()), transposed.bias
        outer, inner = weight.shape[:2]
        self.cropped = int(transposed.padding[0])
        self.convolution = nn.Conv2d(inner, outer, 2, padding=1, bias=bias is not None)
        self.convolution.weight.data = torch.from_numpy(weight)
        if bias is not None:
            self.convolution.bias = nn.Parameter(bias.detach().repeat_interleave(4))

    def forward(self, x: Tensor) -> Tensor:
        inside = slice(self.cropped, -self.cropped)
        return F.pixel_shuffle(self.convolution(x), 2)[:, :, inside, inside]


class Wide(nn.Module):
    """A layer that computes in fp32 within a network in fp16."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(x.float()).to(x.dtype)
        return result


def precomputed(module: M) -> M:
    """Compute in advance what the module's layers compute from their weights alone, in place.

    Layers that compute the kernel of a transposed convolution are replaced by one that has it.
    """
    for name, child in module.named_children():
        if isinstance(child, Modulated):
            child.precompute()
        if isinstance(child, NearestConvolution):
            kernel = child.kernel().detach()
            inner, outer = kernel.shape[:2]
            biased = child.bias is not None
            layer = nn.ConvTranspose2d(inner, outer, 4, 2, child.cropped, bias=biased)
            layer.weight, layer.bias = nn.Parameter(kernel), child.bias
            setattr(module, name, layer)
        else:
            precomputed(child)
    return module


def subpixel(module: M) -> M:
    """Replace the module's transposed convolutions of kernel 4, in place. Those of kernel 3 would
    become convolutions of kernel 4, whose cost outweighs the gain of integers.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.ConvTranspose2d):
            if child.kernel_size == (4, 4):
                setattr(module, name, SubPixel(child))
        else:
            subpixel(child)
    return module


def halved(module: M) -> M:
    """Convert the module to fp16, in place, except its norms, whose sums need more precision."""
    module = module.half()
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.InstanceNorm2d | nn.BatchNorm2d | nn.GroupNorm):
                setattr(parent, name, Wide(child.float()))
    return module
