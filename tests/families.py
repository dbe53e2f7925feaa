"""Generators as other repositories write them, small: each by what its layers are, in its names."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def randomized(network: nn.Module, seed: int = 0) -> nn.Module:
    """Weights that use the whole range of grey levels, and norms that do something."""
    torch.manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            fan = layer.weight[0].numel() if isinstance(layer, nn.Conv2d) else layer.in_channels * 4
            nn.init.normal_(layer.weight, 0, 1.4 / fan**0.5)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, 0, 0.2)
        elif isinstance(layer, nn.BatchNorm2d | nn.InstanceNorm2d) and layer.affine:
            nn.init.normal_(layer.weight, 1, 0.3)
            nn.init.normal_(layer.bias, 0, 0.3)
            if layer.running_mean is not None:
                nn.init.normal_(layer.running_mean, 0, 0.3)
                nn.init.uniform_(layer.running_var, 0.5, 2)
    return network


class Residual(nn.Module):
    """x + layers(x), the layers under any name."""

    def __init__(self, name: str, *layers: nn.Module):
        super().__init__()
        self.add_module(name, nn.Sequential(*layers))
        self.held = (getattr(self, name),)  # not registered a second time

    def forward(self, x: Tensor) -> Tensor:
        return x + self.held[0](x)


class Whole(nn.Module):
    """A Sequential under any name."""

    def __init__(self, name: str, *layers: nn.Module):
        super().__init__()
        self.add_module(name, nn.Sequential(*layers))
        self.held = (getattr(self, name),)

    def forward(self, x: Tensor) -> Tensor:
        return self.held[0](x)


class Blur(nn.Module):
    """CUT's Downsample: a binomial filter of three taps in a buffer, reflected border, stride 2."""

    def __init__(self, channels: int):
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0])
        kernel = row[:, None] * row[None]
        self.register_buffer("filt", (kernel / kernel.sum())[None, None].repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), self.filt, stride=2, groups=x.shape[1])


class Spread(nn.Module):
    """CUT's Upsample: four taps as a transposed convolution, the border repeated, then cut off."""

    def __init__(self, channels: int):
        super().__init__()
        row = torch.tensor([1.0, 3.0, 3.0, 1.0])
        kernel = row[:, None] * row[None] * 4
        kernel = kernel / row.sum() ** 2
        self.register_buffer("filt", kernel[None, None].repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (1, 1, 1, 1), "replicate")
        y = F.conv_transpose2d(padded, self.filt, stride=2, padding=2, groups=x.shape[1])
        return y[:, :, 1:-1, 1:-1]


def resnet(
    whole: str = "model",
    block: str = "conv_block",
    width: int = 8,
    blocks: int = 2,
    norm: type = nn.InstanceNorm2d,
    ups: str = "transposed",
    blurred: bool = False,
    zeros: bool = False,
) -> nn.Module:
    """Any CycleGAN ResNet that is one Sequential: the authors', PyTorch-GAN's, CUT's."""
    bias = norm is nn.InstanceNorm2d

    def residual(c: int) -> nn.Module:
        if zeros:
            return Residual(
                block,
                nn.Conv2d(c, c, 3, padding=1, bias=bias),
                norm(c),
                nn.ReLU(),
                nn.Conv2d(c, c, 3, padding=1, bias=bias),
                norm(c),
            )
        return Residual(
            block,
            nn.ReflectionPad2d(1),
            nn.Conv2d(c, c, 3, bias=bias),
            norm(c),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(c, c, 3, bias=bias),
            norm(c),
        )

    def end(a: int, b: int, bias: bool = True) -> list[nn.Module]:
        if zeros:
            return [nn.Conv2d(a, b, 7, padding=3, bias=bias)]
        return [nn.ReflectionPad2d(3), nn.Conv2d(a, b, 7, bias=bias)]

    layers = [*end(3, width, bias), norm(width), nn.ReLU()]
    c = width
    for _ in range(2):
        layers += [nn.Conv2d(c, 2 * c, 3, 1 if blurred else 2, 1, bias=bias), norm(2 * c)]
        layers += [nn.ReLU(), *([Blur(2 * c)] if blurred else [])]
        c *= 2
    layers += [residual(c) for _ in range(blocks)]
    for _ in range(2):
        before = {
            "nearest": [nn.Upsample(scale_factor=2)],
            "bilinear": [nn.Upsample(scale_factor=2, mode="bilinear")],
            "spread": [Spread(c)] if ups == "spread" else [],
            "transposed": [],
        }[ups]
        double = (
            nn.ConvTranspose2d(c, c // 2, 3, 2, 1, 1, bias=bias)
            if ups == "transposed"
            else nn.Conv2d(c, c // 2, 3, padding=1, bias=bias)
        )
        layers += [*before, double, norm(c // 2), nn.ReLU()]
        c //= 2
    return randomized(Whole(whole, *layers, *end(c, 3), nn.Tanh()))


class Reflecting(nn.Module):
    """aladdinpersson's CycleGAN: every convolution but the transposed reflects the border."""

    def __init__(self, w: int = 8, blocks: int = 2):
        super().__init__()

        def normed(a: int, b: int, active: bool = True, **how) -> nn.Module:
            layer = nn.Conv2d(a, b, 3, padding=1, padding_mode="reflect", **how)
            return Whole(
                "conv", layer, nn.InstanceNorm2d(b), nn.ReLU() if active else nn.Identity()
            )

        def doubling(a: int, b: int) -> nn.Module:
            layer = nn.ConvTranspose2d(a, b, 3, 2, 1, output_padding=1)
            return Whole("conv", layer, nn.InstanceNorm2d(b), nn.ReLU())

        self.initial = nn.Sequential(
            nn.Conv2d(3, w, 7, padding=3, padding_mode="reflect"), nn.InstanceNorm2d(w), nn.ReLU()
        )
        self.down_blocks = nn.ModuleList(
            [normed(w, 2 * w, stride=2), normed(2 * w, 4 * w, stride=2)]
        )
        c = 4 * w
        self.res_blocks = nn.Sequential(
            *(Residual("block", normed(c, c), normed(c, c, False)) for _ in range(blocks))
        )
        self.up_blocks = nn.ModuleList([doubling(c, 2 * w), doubling(2 * w, w)])
        self.last = nn.Conv2d(w, 3, 7, padding=3, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        x = self.initial(x)
        for layer in (*self.down_blocks, self.res_blocks, *self.up_blocks):
            x = layer(x)
        return torch.tanh(self.last(x))


class Functional(nn.Module):
    """znxlwm's CycleGAN: single layers, and functions between them."""

    def __init__(self, w: int = 8, blocks: int = 2):
        super().__init__()
        self.conv1, self.conv1_norm = nn.Conv2d(3, w, 7), nn.InstanceNorm2d(w)
        self.conv2, self.conv2_norm = nn.Conv2d(w, 2 * w, 3, 2, 1), nn.InstanceNorm2d(2 * w)
        self.conv3, self.conv3_norm = nn.Conv2d(2 * w, 4 * w, 3, 2, 1), nn.InstanceNorm2d(4 * w)
        self.resnet_blocks = nn.Sequential(*(self.Block(4 * w) for _ in range(blocks)))
        self.deconv1 = nn.ConvTranspose2d(4 * w, 2 * w, 3, 2, 1, 1)
        self.deconv1_norm = nn.InstanceNorm2d(2 * w)
        self.deconv2 = nn.ConvTranspose2d(2 * w, w, 3, 2, 1, 1)
        self.deconv2_norm = nn.InstanceNorm2d(w)
        self.deconv3 = nn.Conv2d(w, 3, 7)

    class Block(nn.Module):
        def __init__(self, c: int):
            super().__init__()
            self.conv1, self.conv1_norm = nn.Conv2d(c, c, 3), nn.InstanceNorm2d(c)
            self.conv2, self.conv2_norm = nn.Conv2d(c, c, 3), nn.InstanceNorm2d(c)

        def forward(self, x: Tensor) -> Tensor:
            y = F.relu(self.conv1_norm(self.conv1(F.pad(x, (1, 1, 1, 1), "reflect"))))
            return x + self.conv2_norm(self.conv2(F.pad(y, (1, 1, 1, 1), "reflect")))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1_norm(self.conv1(F.pad(x, (3, 3, 3, 3), "reflect"))))
        x = F.relu(self.conv2_norm(self.conv2(x)))
        x = self.resnet_blocks(F.relu(self.conv3_norm(self.conv3(x))))
        x = F.relu(self.deconv1_norm(self.deconv1(x)))
        x = F.relu(self.deconv2_norm(self.deconv2(x)))
        return torch.tanh(self.deconv3(F.pad(x, (3, 3, 3, 3), "reflect")))


def depths(w: int, levels: int) -> list[int]:
    return [w * min(2**level, 8) for level in range(levels)]


class NumberedUNet(nn.Module):
    """PyTorch-GAN's pix2pix: down1 to downN, up1 to upN-1, and a last layer that doubles the
    nearest pixels; or, with `transposed`, one of the others' in the same names.
    """

    def __init__(
        self, w: int = 4, levels: int = 6, norm: type = nn.InstanceNorm2d, transposed: bool = False
    ):
        super().__init__()
        self.levels, c = levels, [3, *depths(w, levels)]
        for n in range(1, levels + 1):
            layers = [nn.Conv2d(c[n - 1], c[n], 4, 2, 1, bias=False)]
            layers += [norm(c[n])] if 1 < n < levels else []
            layers += [nn.LeakyReLU(0.2), *([nn.Dropout(0.5)] if n >= 4 else [])]
            self.add_module(f"down{n}", Whole("model", *layers))
        for n in range(1, levels):
            inner, outer = c[levels - n + 1], c[levels - n]
            layers = [nn.ConvTranspose2d(inner * (1 + (n > 1)), outer, 4, 2, 1, bias=False)]
            layers += [norm(outer), nn.ReLU()]
            self.add_module(f"up{n}", Whole("model", *layers))
        self.final = (
            nn.Sequential(nn.ConvTranspose2d(2 * w, 3, 4, 2, 1), nn.Tanh())
            if transposed
            else nn.Sequential(
                nn.Upsample(scale_factor=2),
                nn.ZeroPad2d((1, 0, 1, 0)),
                nn.Conv2d(2 * w, 3, 4, padding=1),
                nn.Tanh(),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for n in range(1, self.levels + 1):
            x = self.get_submodule(f"down{n}")(x)
            skips.append(x)
        for n in range(1, self.levels):
            x = torch.cat([self.get_submodule(f"up{n}")(x), skips[self.levels - 1 - n]], 1)
        return self.final(x)


class ReflectingUNet(nn.Module):
    """aladdinpersson's pix2pix, which has a layer of its own at both ends and in the middle."""

    def __init__(self, w: int = 4, levels: int = 6):
        super().__init__()
        self.levels, c = levels, depths(w, levels)

        def halving(a: int, b: int, bias: bool) -> nn.Module:
            return nn.Conv2d(a, b, 4, 2, 1, bias=bias, padding_mode="reflect")

        self.initial_down = nn.Sequential(halving(3, w, True), nn.LeakyReLU(0.2))
        for n in range(1, levels - 1):
            down = halving(c[n - 1], c[n], False)
            self.add_module(
                f"down{n}", Whole("conv", down, nn.BatchNorm2d(c[n]), nn.LeakyReLU(0.2))
            )
        self.bottleneck = nn.Sequential(nn.Conv2d(c[-2], c[-1], 4, 2, 1), nn.ReLU())
        for n in range(1, levels):
            inner, outer = c[levels - n] * (1 + (n > 1)), c[levels - n - 1]
            up = nn.ConvTranspose2d(inner, outer, 4, 2, 1, bias=False)
            self.add_module(f"up{n}", Whole("conv", up, nn.BatchNorm2d(outer), nn.ReLU()))
        self.final_up = nn.Sequential(nn.ConvTranspose2d(2 * w, 3, 4, 2, 1), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.initial_down(x)]
        for n in range(1, self.levels - 1):
            skips.append(self.get_submodule(f"down{n}")(skips[-1]))
        x = self.bottleneck(skips[-1])
        for n in range(1, self.levels):
            x = torch.cat([self.get_submodule(f"up{n}")(x), skips.pop()], 1)
        return self.final_up(x)


class FunctionalUNet(nn.Module):
    """znxlwm's pix2pix: conv1 to convN and deconv1 to deconvN, with biases before BatchNorm."""

    def __init__(self, w: int = 4, levels: int = 6):
        super().__init__()
        self.levels, c = levels, [3, *depths(w, levels)]
        for n in range(1, levels + 1):
            self.add_module(f"conv{n}", nn.Conv2d(c[n - 1], c[n], 4, 2, 1))
            if 1 < n < levels:
                self.add_module(f"conv{n}_bn", nn.BatchNorm2d(c[n]))
        for n in range(1, levels + 1):
            inner, outer = c[levels - n + 1] * (1 + (n > 1)), c[levels - n]
            self.add_module(f"deconv{n}", nn.ConvTranspose2d(inner, outer, 4, 2, 1))
            if n < levels:
                self.add_module(f"deconv{n}_bn", nn.BatchNorm2d(outer))

    def forward(self, x: Tensor) -> Tensor:
        layer, encoded = self.get_submodule, [self.conv1(x)]
        for n in range(2, self.levels):
            y = layer(f"conv{n}")(F.leaky_relu(encoded[-1], 0.2))
            encoded.append(layer(f"conv{n}_bn")(y))
        x = layer(f"conv{self.levels}")(F.leaky_relu(encoded[-1], 0.2))
        for n in range(1, self.levels):
            y = layer(f"deconv{n}_bn")(layer(f"deconv{n}")(F.relu(x)))
            x = torch.cat([y, encoded.pop()], 1)
        return torch.tanh(layer(f"deconv{self.levels}")(F.relu(x)))
