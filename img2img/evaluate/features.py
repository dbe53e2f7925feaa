"""Features of pictures by a network that was trained on photographs, for distances between sets.

FID, KID and IS are defined on Inception. The EfficientNet-Lites are installed as packages, so that
distances can be measured offline; these are not FID, and have names of their own.

A network whose features took part in the training of a model flatters it: by default, another one
measures.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar
from urllib.request import urlopen

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from img2img import images
from img2img.errors import UsageError, needs_extra
from img2img.features.efficientnet import VARIANTS, load
from img2img.features.weights import checked
from img2img.files import cache_folder
from img2img.writing import write_whole

INCEPTION_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth"
)
INCEPTION_SHA256 = "6726825d"  # the first digits, from the file's name
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
    name: str = "auto",
    weights: Path | None = None,
    device: torch.device | None = None,
    trained: Collection[str] = (),
) -> Extractor:
    """The network by its name. "auto" is Inception where its weights are available, else a Lite.

    weights: a file with Inception's weights; by default it is downloaded once and checked. device:
    by default a GPU, if there is one. trained: SHA-256 of the networks that took part in training,
    which "auto" avoids. Raises DataError for a file with another checksum, and UsageError where the
    weights are not available.
    """
    device = device or default_device()
    cached = cache_folder() / Path(INCEPTION_URL).name
    if name == "auto":
        name = "inception" if weights or cached.exists() else untrained_lite(trained)
    if name == "inception":
        return _inception(weights or _download(cached), device)
    if weights:
        raise UsageError("--weights goes with --extractor inception.")
    return _lite(name, device)


def untrained_lite(trained: Collection[str]) -> str:
    """The first Lite in the order of preference that took no part in training; if all did, the
    first. trained: SHA-256 of the networks that did.
    """
    # Lite2 differs more from Lite0 than Lite1 does, in width as well as in depth.
    preferred = ("efficientnet-lite0", "efficientnet-lite2", "efficientnet-lite1")
    others = [name for name in preferred if VARIANTS[name].sha256 not in trained]
    return (others or preferred)[0]


def part_in_training(judges: Mapping[str, str], trained: Mapping[str, str]) -> str:
    """A sentence about the networks that took part in training, without a full stop; empty if there
    are none. judges, trained: SHA-256 by the names of networks.
    """
    if not trained:
        return ""
    both = [name for name, sha256 in judges.items() if sha256 in trained.values()]
    taking_part = _listed(Path(name).name for name in trained)  # files without their folders
    sentence = f"The features of {taking_part} took part in training"
    if both:
        return f"{sentence}, so distances measured by {_listed(both)} flatter the model"
    measuring = f"; those of {_listed(judges)}, by which it is measured, did not" if judges else ""
    return f"{sentence}{measuring}"


def known_sha256(name: str) -> dict[str, str]:
    """The SHA-256 of the extractor that measures a run, by its name, without opening its weights;
    empty where nothing is measured. Inception's is left out: it can't take part in training.
    """
    if name in ("", "none"):
        return {}
    return {name: VARIANTS[name].sha256 if name in VARIANTS else ""}


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


class Perceptual:
    """The distance of two pictures, uint8 [H, W, C] of one size, in the seven stages of a Lite; 0
    to 4.

    The formula of LPIPS (Zhang et al. 2018, equation 1) on another network and without learned
    weights: the channels at each position are scaled to length 1, squared differences are summed
    over channels, and averaged over positions and stages.
    """

    def __init__(self, lite: "Lite"):
        self.lite = lite
        self.name = f"{lite.short}_perceptual"  # of the metric

    def __call__(self, output: np.ndarray, truth: np.ndarray) -> float:
        pair = torch.cat(list(_batches((output[..., :3], truth[..., :3]), self.lite.side)))
        with torch.inference_mode():
            stages = self.lite.network.stages(self.lite.scaled(pair))
        units = [F.normalize(stage, dim=1) for stage in stages]
        each = [(a - b).square().sum(0).mean() for a, b in units]
        return float(torch.stack(each).mean())


def perceptual(network: Extractor, trained: Collection[str] = ()) -> Perceptual:
    """The perceptual distance that goes with an extractor: on its own features if it is a Lite,
    else on those of a Lite that took no part in training. trained: SHA-256 of networks that did.
    """
    if isinstance(network, Lite):
        return Perceptual(network)
    return Perceptual(_lite(untrained_lite(trained), network.device))


@lru_cache(maxsize=2)
def _inception(weights: Path, device: torch.device) -> "Inception":
    """Cached, because a run needs it when it is planned and when it starts."""
    return Inception(weights, device)


@lru_cache(maxsize=2)
def _lite(name: str, device: torch.device) -> "Lite":
    """Cached, because the perceptual distance and the distances between sets share it."""
    return Lite(name, device)


class Inception:
    """Inception v3 of the FID's authors, as converted by torch-fidelity: 2,048 features."""

    name, kernel, frechet, side, dimensions = "inception", "kid", "fid", 299, 2048

    def __init__(self, weights: Path, device: torch.device):
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise needs_extra("eval", error) from None
        # torch-fidelity unpickles the file without checks, so only the known file is passed to it.
        self.sha256 = checked(weights, INCEPTION_SHA256)
        network = FeatureExtractorInceptionV3(
            "inception",
            ["2048", "logits_unbiased", "64", "192", "768"],
            feature_extractor_weights_path=str(weights),
        )
        self.device, self.network = device, network.to(device)

    def __call__(self, pictures: Tensor) -> Activations[Tensor]:
        features, logits, *earlier = self.network(pictures)
        return Activations(features, logits, torch.cat([*earlier, features], 1))


class Lite:
    """EfficientNet-Lite on ImageNet, at the resolution of its publication: 1,280 features."""

    dimensions = 1280

    def __init__(self, name: str, device: torch.device):
        variant, self.name, self.short = VARIANTS[name], name, name.removeprefix("efficientnet-")
        self.kernel, self.frechet = f"{self.short}_kernel", f"{self.short}_frechet"
        self.side, self.sha256 = variant.side, variant.sha256
        self.device, self.network = device, load(name).to(device)

    def __call__(self, pictures: Tensor) -> Activations[Tensor]:
        stages = self.network.stages(self.scaled(pictures))
        features = self.network.features(stages[-1])
        style = [part for stage in stages for part in (stage.mean((2, 3)), stage.std((2, 3)))]
        return Activations(features, self.network.logits(features), torch.cat(style, 1))

    def scaled(self, pictures: Tensor) -> Tensor:
        """uint8 -> about [-1, 1], the range that the weights were trained with."""
        return (pictures.to(self.device).float() - 127) / 128


def _listed(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _batches(pictures: Iterable[np.ndarray], side: int) -> Iterator[Tensor]:
    """Tensors uint8 [at most BATCH, 3, side, side] of the pictures."""
    resized = (
        np.broadcast_to(images.resize(picture, side, side), (side, side, 3)) for picture in pictures
    )
    while batch := list(islice(resized, BATCH)):
        yield torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2)


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
