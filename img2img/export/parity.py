"""Whether the exported file gives the pictures that torch gives."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from img2img import images
from img2img.errors import DataError, Img2ImgError
from img2img.export.graph import Pixels
from img2img.infer import openvino
from img2img.infer.translator import Translator
from img2img.manifest import Precision
from img2img.methods.base import ExportSpec

DOMAINS = 4  # that a model is tried with, at most
TOLERANCE = 1  # grey levels of 255, in fp32
WORST_DB = {"fp16": 40.0, "int8": 28.0}  # PSNR of the worst picture that is still let through


def test_pictures(
    files: list[Path], read: Callable[[Path], np.ndarray], size: int
) -> list[np.ndarray]:
    """Up to six pictures as uint8 [H, W, C], as `read` gives them: four as trained, two of odd
    sizes.

    Instance normalisation amplifies rounding on near-constant pictures; real ones are what counts.
    """
    sizes = [(size, size)] * 4 + [(size + 13, size - 5), (size - 7, size + 2)]
    pictures = []
    for path, (height, width) in zip(files, sizes, strict=False):
        try:
            pictures.append(images.resize(read(path), width, height))
        except DataError:
            continue  # gone since training; the others serve
    if not pictures:
        raise DataError("There is no training picture left to check the export's parity on.")
    return pictures


def measure(spec: ExportSpec, bundle: Path, pictures: list[np.ndarray]) -> dict[str, float]:
    """Grey levels between the bundle and torch, over the pictures and some domains.

    Keys: max_levels, mean_levels, pictures, and psnr_mean and psnr_worst in dB, at most 100. The
    bundle runs on the CPU, as the reference does, which is in fp32.
    """
    translator = Translator(bundle, provider="cpu")
    pixels = Pixels(spec).eval()
    worst, total, decibels = 0.0, 0.0, []
    for to in spec.labels.names[:DOMAINS] or (None,):
        for picture, ours in zip(pictures, translator(pictures, to=to), strict=True):
            reference = _in_torch(pixels, picture, translator.domain(to))
            difference = np.abs(reference.astype(int) - ours.astype(int))
            worst = max(worst, float(difference.max()))
            total += float(difference.mean())
            decibels.append(psnr(difference))
    return {
        "max_levels": worst,
        "mean_levels": total / len(decibels),
        "psnr_mean": float(np.mean(decibels)),
        "psnr_worst": float(min(decibels)),
        "pictures": float(len(pictures)),
    }


def measure_bf16(spec: ExportSpec, bundle: Path, pictures: list[np.ndarray]) -> dict[str, float]:
    """How near computing in bf16 stays to the bundle as it is, in dB over pictures and domains.

    Keys: bf16_psnr_mean and bf16_psnr_worst. OpenVINO computes where it is installed and the CPU
    has bf16, as `auto` has it then; elsewhere torch's autocast, which rounds more (2 to 3 dB).
    """
    exact, pixels = Translator(bundle, "cpu"), Pixels(spec).eval()
    by_openvino = openvino.is_installed() and openvino.pays_off()
    rounding = Translator(bundle, "openvino") if by_openvino else None
    decibels = []
    for to in spec.labels.names[:DOMAINS] or (None,):
        for picture in pictures:
            if rounding:
                reference, rounded = exact(picture, to), rounding(picture, to)
            else:
                reference = _in_torch(pixels, picture, exact.domain(to))
                with torch.autocast("cpu", torch.bfloat16):
                    rounded = _in_torch(pixels, picture, exact.domain(to))
            decibels.append(psnr(reference.astype(int) - rounded))
    return {"bf16_psnr_mean": float(np.mean(decibels)), "bf16_psnr_worst": min(decibels)}


@torch.no_grad()
def _in_torch(pixels: Pixels, picture: np.ndarray, domain: np.ndarray | None) -> np.ndarray:
    """uint8 [H, W, C] -> uint8 [H, W, C']; domain: the label vector, where there are any."""
    label = None if domain is None else torch.from_numpy(domain)[None]
    output: np.ndarray = pixels(torch.from_numpy(picture.copy())[None], label)[0].numpy()
    return output


def psnr(difference: np.ndarray) -> float:
    """Of grey levels off, in dB; 100 where there are none."""
    error = float(np.square(difference, dtype=np.float64).mean())
    return float(10 * np.log10(255**2 / error)) if error else 100.0


def require(parity: dict[str, float], bundle: Path, precision: Precision = "fp32") -> None:
    """Raise where the bundle is further from torch than its precision explains."""
    if precision != "fp32":
        if parity["psnr_worst"] < WORST_DB[precision]:
            raise Img2ImgError(
                f"In {precision} a picture is only {parity['psnr_worst']:.1f} dB from torch's "
                f"({WORST_DB[precision]:.0f} is the least), so {bundle} was not written. "
                "Export this model in fp32."
            )
        return
    if parity["max_levels"] > TOLERANCE:
        raise Img2ImgError(
            f"The export differs from torch by up to {parity['max_levels']:.0f} grey levels "
            f"(mean {parity['mean_levels']:.3f}; {TOLERANCE} is allowed), so {bundle} was not "
            "written. Please report this, with the run's config.json."
        )
