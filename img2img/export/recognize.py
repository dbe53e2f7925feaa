"""Recognizing the generator of a state dict by the order and shapes of its layers.

Many repositories implement the same generators, and differ only in the names of the layers. What
shapes don't determine (how borders are padded, how features are upsampled before a convolution) is
assumed to be as in the repository that the names suggest. `Recognized.reading` states it.
"""

import re
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from img2img.nets.norm import Norm

State = dict[str, Tensor]
MAX_LEVELS = 10  # of a U-Net: they reduce 1,024 px to one
RUNNING = ("running_mean", "running_var", "num_batches_tracked")
LEAVES = {"weight", "bias", *RUNNING}
# The order of layers by words in their names: the first pattern that matches a part counts.
ROLES = (
    (r"final|last|out|tail", 4),
    (r"initial|first|stem|input", 0),
    (r"up|dec", 3),
    (r"down|enc", 1),
    (r"bottleneck|mid|inner|res|block", 2),
    (r"conv", 1),
)
# Networks that are often tried but not supported, by a part of a key.
OTHERS = {
    "gap_fc": "U-GAT-IT's generator",
    "enc_style": "MUNIT's generator",
    "mlp_shared": "SPADE's generator (GauGAN)",
    "mlp_0.": "the feature network (net_F) of CUT",
    "Mixed_5b": "an Inception network",
    "classifier.": "a classifier of pictures (VGG, say)",
    "features.": "the features of a classifier of pictures (VGG, say)",
    "layer1.0.conv1": "a ResNet that classifies pictures",
    "to_rgb": "StyleGAN2's generator",
    "attn1.to_q": "a diffusion model",
}


class Unrecognized(Exception):
    """The reason why a state dict is not a known generator."""


@dataclass
class Layer:
    """A convolution by its key's stem, and the norm that follows it."""

    name: str
    weight: Tensor
    bias: Tensor | None
    norm_name: str = ""
    norm: State = field(default_factory=dict)
    filters: list[Tensor] = field(default_factory=list)  # of CUT's blur after it

    @property
    def channels(self) -> tuple[int, int]:
        """The first two sizes of the weight: (out, in); for a transposed convolution, (in, out)."""
        return self.weight.shape[0], self.weight.shape[1]

    @property
    def kernel(self) -> int:
        return self.weight.shape[2]


@dataclass(frozen=True)
class Recognized:
    """A recognized generator: the settings that build it, and its layers in order."""

    mode: str  # the method whose paper describes it
    settings: dict[str, object]
    layers: list[Layer]
    reading: str  # a description of what was recognized and assumed
    label_width: int = 0  # of a StarGAN; else 0
    running: bool = False  # whether its repository uses BatchNorm's running statistics


def recognize(state: State, ordered: bool = True) -> Recognized:
    """Recognize the generator of a state dict. Raises Unrecognized with the reason.

    ordered: the keys are in the order of the layers, as torch saves them. If not, or if that order
    gives no known network, the numbers and words in their names order them.
    """
    named = {key: state[key] for key in sorted(state, key=_place)}
    reasons = []
    for keys in (state, named) if ordered else (named,):
        try:
            return _network(_layers(keys))
        except Unrecognized as reason:
            reasons.append(reason)
    for part, network in OTHERS.items():
        if any(part in key for key in state):
            raise Unrecognized(f"It looks like {network}")
    raise reasons[0]


def _place(key: str) -> list[tuple[object, ...]]:
    """A sort key for the order of layers: numbers by value, words by their usual meaning."""
    return [
        (
            next((rank for words, rank in ROLES if re.search(words, part)), 2),
            [
                (0, len(run.lstrip("0")), run) if run.isdecimal() else (1, 0, run)
                for run in re.findall(r"\d+|\D+", part)
            ],
        )
        for part in key.lower().split(".")
    ]


def _layers(state: State) -> list[Layer]:
    groups: dict[str, State] = {}
    for key, tensor in state.items():
        name, _, leaf = key.rpartition(".")
        groups.setdefault(name, {})[leaf] = tensor
    layers: list[Layer] = []
    for name, tensors in groups.items():
        weight = tensors.get("weight")
        if "filt" in tensors and layers:
            layers[-1].filters.append(tensors["filt"])
        elif unknown := tensors.keys() - LEAVES:
            key = ".".join(part for part in (name, min(unknown)) if part)
            raise Unrecognized(f"{key} does not belong to a known kind of layer")
        elif weight is not None and weight.ndim == 4:
            if not tensors.keys() <= {"weight", "bias"} or weight.shape[2] != weight.shape[3]:
                raise Unrecognized(f"{name} is not a plain convolution")
            layers.append(Layer(name, weight, tensors.get("bias")))
        elif weight is None and "running_mean" not in tensors:
            raise Unrecognized(f"{name} has a {min(tensors)}, but no weight")
        elif weight is not None and weight.ndim != 1:
            raise Unrecognized(
                f"{name}.weight {list(weight.shape)} is neither a convolution's nor a norm's"
            )
        elif not layers or layers[-1].norm:
            raise Unrecognized(f"{name} is a norm without a convolution before it")
        else:
            layers[-1].norm_name, layers[-1].norm = name, tensors
    return layers


def _network(layers: list[Layer]) -> Recognized:
    chained = all(b.channels[1] == a.channels[0] for a, b in pairwise(layers))
    if len(layers) > 1 and chained and layers[-1].channels[0] == 1:
        raise Unrecognized("It looks like a discriminator")
    if len(layers) < 6:
        raise Unrecognized(f"It has only {len(layers)} convolutions")
    first, last = layers[0], layers[-1]
    if (first.kernel, last.kernel) == (9, 9):
        raise Unrecognized("It looks like a network of fast style transfer (Johnson et al. 2016)")
    if first.kernel == 7:
        return _resnet(layers)
    return _unet(layers)


def _resnet(layers: list[Layer]) -> Recognized:
    """Recognize a stem, two layers that downsample, residual blocks, two that upsample, and the
    last.
    """
    stem, *inner, last = layers
    width, planes = stem.channels
    deep, downs = width, []
    while inner and inner[0].channels == (2 * deep, deep):
        downs.append(inner.pop(0))
        deep *= 2
    residual = []
    while inner and inner[0].channels == (deep, deep):
        residual.append(inner.pop(0))
    ups = inner
    if len(downs) > 2 and len(ups) == len(downs):
        raise Unrecognized(
            f"It is a ResNet that downsamples {len(downs)} times, such as pix2pixHD's; those of "
            "CycleGAN and StarGAN do so twice"
        )
    transposed = [up.channels for up in ups] == [(deep, deep // 2), (deep // 2, width)]
    convolved = [up.channels for up in ups] == [(deep // 2, deep), (width, deep // 2)]
    if len(downs) != 2 or not residual or not (transposed or convolved) or last.kernel != 7:
        shapes = ", ".join(f"{layer.name} {list(layer.weight.shape)}" for layer in (*ups, last))
        raise Unrecognized(
            f"It begins as a ResNet that downsamples {len(downs)} times, with {len(residual)} "
            f"convolutions of {deep} channels; what follows does not fit: {shapes}"
        )
    dropout = _blocks_dropping_out(residual)
    settings: dict[str, object] = {
        "in_channels": planes,
        "out_channels": last.channels[0],
        "width": width,
        "blocks": len(residual) // 2,
    }
    kernels = {layer.kernel for layer in (*downs, *ups)}
    if any(layer.kernel != 3 for layer in residual) or len(kernels) > 1:
        raise Unrecognized("It is a ResNet with other kernel sizes than CycleGAN's or StarGAN's")
    if kernels == {4}:
        labels = planes - last.channels[0]
        return _stargan(layers, settings, labels, transposed)
    if kernels != {3}:
        raise Unrecognized(f"It is a ResNet that downsamples with kernels of size {kernels.pop()}")
    antialias, upsample, resampling = _resampling(layers, downs, residual[-1], ups, transposed)
    padding, borders = _padding(layers, residual)
    assumed = "assumed" in borders
    norm, normalizing = _norm(layers[:-1], layers[-1:], "instance_affine")
    pytorch_gan = upsample == "nearest" and ".block." in residual[0].name and not assumed
    if pytorch_gan and (planes, last.channels[0]) != (3, 3):
        raise Unrecognized(
            "It is PyTorch-GAN's CycleGAN with other than 3 channels, which changes the size of "
            "pictures, because it pads by as many pixels as it has channels"
        )
    if padding == "reflect":
        origin = "aladdinpersson's CycleGAN"
    elif antialias:
        origin = "CUT's antialiased ResNet"
    elif pytorch_gan:
        origin = "PyTorch-GAN's CycleGAN"
    else:
        known = upsample == "transposed" and not assumed
        origin = "the ResNet of CycleGAN's authors" if known else "a ResNet like CycleGAN's"
        if upsample == "nearest":
            resampling += " (assumed; or --upsample bilinear)"
    settings |= {
        "generator": "resnet",
        "dropout": dropout,
        "size": 256,
        "norm": norm,
        "padding": padding,
    }
    settings |= {"upsample": upsample, "antialias": antialias}
    reading = f"{origin}: {resampling}, {borders}, {normalizing}"
    return Recognized("cyclegan", settings, layers, reading)


def _blocks_dropping_out(residual: list[Layer]) -> bool:
    """Whether the blocks have dropout, a layer that shifts the index of the second convolution.

    Raises Unrecognized if a convolution or, by its number, a block is missing.
    """
    if len(residual) % 2:
        raise Unrecognized(f"It is a ResNet with half a block: {len(residual)} convolutions")
    starts = [layer.name.split(".") for layer in residual[::2]]
    for before, after in pairwise(starts):
        numbers = [(a, b) for a, b in zip(before, after, strict=False) if a != b]
        a, b = numbers[0] if numbers else ("", "")
        if a.isdecimal() and b.isdecimal() and b != _next(a):
            raise Unrecognized(f"A residual block is missing between {a} and {b}")
    first, second = (layer.name.rpartition(".")[2] for layer in residual[:2])
    return (first, second) in {("1", "6"), ("0", "4")}


def _next(number: str) -> str:
    return str(int(number) + 1) if len(number) < 6 else ""


def _stargan(
    layers: list[Layer], settings: dict[str, object], width: int, transposed: bool
) -> Recognized:
    """Recognize StarGAN's generator. width: input channels that are the label vector."""
    channels = settings["out_channels"]
    if width <= 0 or not transposed:
        raise Unrecognized(
            "It is a ResNet that downsamples and upsamples like StarGAN's (kernels of size 4), "
            "but it has no input for labels"
        )
    settings = {**settings, "generator": "stargan", "in_channels": channels, "size": 128}
    reading = f"StarGAN's generator: {width} labels, zeros at the border, instance norm"
    return Recognized("stargan", settings, layers, reading, label_width=width)


def _resampling(
    layers: list[Layer], downs: list[Layer], deepest: Layer, ups: list[Layer], transposed: bool
) -> tuple[bool, str, str]:
    """The settings `antialias` and `upsample`, and a description of both."""
    blurred = [layer for layer in layers if layer.filters]
    upsample = "transposed" if transposed else "nearest"
    words = f"{upsample} {'convolutions' if transposed else 'upsampling'}"
    if not blurred:
        return False, upsample, words
    smooth = torch.tensor([1.0, 2.0, 1.0]) / 4
    spread = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    expected = [(layer.name, smooth) for layer in downs]
    if not transposed:
        # Each blur is stored after the convolution before the one that it serves.
        expected += [(layer.name, spread) for layer in (deepest, ups[0])]
    fits = len(blurred) == len(expected) and all(
        layer.name == name and len(layer.filters) == 1 and _is_filter(layer.filters[0], row)
        for layer, (name, row) in zip(blurred, expected, strict=False)
    )
    if not fits:
        raise Unrecognized(
            "It is an antialiased ResNet (filt), but its filters are not CUT's: (1, 2, 1) to "
            "downsample, and (1, 3, 3, 1) or none to upsample"
        )
    # Four taps and a repeated border are exactly bilinear interpolation.
    return (
        True,
        upsample if transposed else "bilinear",
        f"blurred downsampling, {words}".replace("nearest", "bilinear"),
    )


def _is_filter(weight: Tensor, row: Tensor) -> bool:
    """Whether a depthwise weight [C, 1, H, W] is the outer product of the row with itself."""
    kernel = torch.outer(row, row)
    return weight.ndim == 4 and (
        weight.shape[1:] == (1, *kernel.shape)
        and torch.allclose(weight.float(), kernel.expand_as(weight), atol=1e-3)
    )


def _padding(layers: list[Layer], residual: list[Layer]) -> tuple[str, str]:
    """The setting `padding`, and its description with what was assumed."""
    names = " ".join(layer.name for layer in layers)
    if all(part in names for part in ("initial.", "down_blocks.", "res_blocks.")):
        return "reflect", "reflection padding, also of the convolutions that downsample"
    ends = {layer.name.rpartition(".")[2] for layer in residual[:2]}
    if ends in ({"0", "3"}, {"0", "4"}):  # there is no padding layer before the first
        return "zeros", "zeros at the border (assumed; or --padding reflect, paper)"
    sure = ends in ({"1", "5"}, {"1", "6"})
    assumed = "" if sure else " (assumed; or --padding reflect, zeros)"
    return "paper", f"reflection padding{assumed}"


def _unet(layers: list[Layer]) -> Recognized:
    """Recognize layers that downsample, as many that upsample, and skips between them."""
    levels = len(layers) // 2
    width, planes = layers[0].channels
    if len(layers) % 2 or not 3 <= levels <= MAX_LEVELS:
        raise Unrecognized(f"It has {len(layers)} convolutions, unlike a U-Net of pix2pix")
    downs, ups, last = layers[:levels], layers[levels:-1], layers[-1]
    channels = [width * min(2**level, 8) for level in range(levels)]
    inward = list(zip(channels, (planes, *channels), strict=False))
    skipped = [channels[-1], *(2 * inner for inner in channels[-2:0:-1])]
    outward = list(zip(skipped, channels[-2::-1], strict=True))
    nearest = last.channels[1] == 2 * width != last.channels[0]
    halves = [layer.channels for layer in downs] == inward
    if halves and [layer.channels[::-1] for layer in ups] == outward:
        raise Unrecognized(
            "It is a U-Net that upsamples before convolutions, such as an early version of "
            "PyTorch-GAN's; pix2pix's has transposed ones"
        )
    for layer, expected in zip((*downs, *ups), (*inward, *outward), strict=True):
        if layer.channels != expected:
            raise Unrecognized(
                f"{layer.name}.weight {list(layer.weight.shape)} doesn't fit pix2pix's U-Net or a "
                "ResNet"
            )
    if last.channels[0] != 2 * width and not nearest:
        raise Unrecognized(
            f"{last.name}.weight {list(last.weight.shape)} is not the last layer of a U-Net"
        )
    if any(layer.kernel != 4 for layer in layers):
        raise Unrecognized("It is a U-Net with other kernel sizes than the 4x4 of pix2pix")
    names = [layer.name for layer in layers]
    depths = [name.count(".") for name in names]
    if nearest:
        form, origin = "pytorch-gan", "PyTorch-GAN's U-Net"
    elif any("initial_down." in name for name in names):
        form, origin = "aladdinpersson", "aladdinpersson's U-Net"
    elif depths[0] < depths[1] < depths[2]:
        form, origin = "paper", "the U-Net of pix2pix's authors"
    elif any(depths):
        form, origin = "flat", "a flat U-Net, LeakyReLU's output in its skips (assumed; or --form)"
    else:  # single convolutions with functions between them
        form, origin = "rectified", "a flat U-Net, ReLU's output in its skips (assumed; or --form)"
    unnormed = [layers[0], layers[levels - 1], last]
    normed = [layer for layer in layers if not any(layer is plain for plain in unnormed)]
    # With BatchNorm, the authors' U-Net has no biases: one is a sign of instance norm.
    norm, normalizing = _norm(normed, unnormed, "instance_affine" if form == "paper" else "batch")
    settings = {
        "generator": "unet",
        "in_channels": planes,
        "out_channels": last.channels[0 if nearest else 1],
        "width": width,
        "levels": levels,
        "size": max(2**levels, 64),
        "norm": norm,
        "form": form,
    }
    running = form == "aladdinpersson" and norm == "batch"
    if norm == "batch":
        normalizing += (
            " with its running averages" if running else " with the statistics of each picture"
        )
    reading = f"{origin}: {levels} levels, {normalizing}"
    return Recognized("pix2pix", settings, layers, reading, running=running)


def _norm(normed: list[Layer], plain: list[Layer], tracked: Norm) -> tuple[Norm, str]:
    """The norm of all layers in `normed`, and its description. `plain` must have none.

    tracked: the norm if there are running statistics after a bias: an instance norm that tracks
    them, or a BatchNorm after a convolution that has a bias. With the statistics of each picture,
    both are the same.
    """
    for layer in plain:
        if layer.norm:
            raise Unrecognized(f"{layer.norm_name} is a norm where known networks have none")
    affine = {"weight" in layer.norm for layer in normed}
    if len(affine) > 1:
        missing = next(layer.name for layer in normed if "weight" not in layer.norm)
        raise Unrecognized(f"There is no norm after {missing}, unlike after other layers")
    if affine == {False}:
        return "instance", "instance norm (assumed; or --norm none)"
    if all("running_mean" not in layer.norm for layer in normed):
        return "instance_affine", "instance norm with weights"
    biased = any(layer.bias is not None for layer in normed)
    norm = tracked if biased else "batch"
    return norm, "BatchNorm" if norm == "batch" else "instance norm with weights"
