"""Initial weights of pix2pix and CycleGAN."""

from torch import nn


def init_normal(module: nn.Module, std: float = 0.02) -> None:
    """Convolution weights N(0, std), biases 0, norm weights N(1, std) (pix2pix, section 6.2)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d | nn.InstanceNorm2d) and layer.affine:
            nn.init.normal_(layer.weight, 1.0, std)
            nn.init.zeros_(layer.bias)
