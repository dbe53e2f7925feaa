"""Comparison of an exported model with torch."""

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
from img2img.sizes import Size

DOMAINS = 4  # at most, of a model with domains
TOLERANCE = 1  # grey levels of 255, in fp32
HALF_WEIGHTS = "fp32 with half weights"
# Share of a label map's pixels.
MOST_DIFFERING = {"fp32": 0.001, HALF_WEIGHTS: 0.01, "fp16": 0.02, "int8": 0.05}
# Lowest PSNR of a picture that is accepted.
WORST_DB = {HALF_WEIGHTS: 50.0, "fp16": 40.0, "int8": 28.0}


def pictures_to_compare(
    files: list[Path], read: Callable[[Path], np.ndarray], size: Size, labels: bool = False
) -> list[np.ndarray]:
    """Up to six pictures, uint8 [H, W, C], from `read`: four of the training size, two of odd
    sizes. labels: they are label maps.

    Real pictures, because instance normalization amplifies rounding errors on nearly constant ones.
    """
    sizes = [size] * 4 + [size.plus(-5, 13), size.plus(2, -7)]
    pictures = []
    for path, wanted in zip(files, sizes, strict=False):
        try:
            pictures.append(images.resize(read(path), *wanted, labels=labels))
        except DataError:
            continue  # deleted since training; the others suffice
    if not pictures:
        raise DataError("None of the training pictures is left to check the export against torch.")
    return pictures


def measure(spec: ExportSpec, bundle: Path, pictures: list[np.ndarray]) -> dict[str, float]:
    """The differences of the bundle to torch, over the pictures and up to DOMAINS domains.

    Keys: max_levels and mean_levels in grey levels of 255 (of the range of the outputs, if they are
    not photographs), psnr_mean and psnr_worst in dB (at most 100),
    and pictures; of integers that are no photographs also unit_levels, a unit in grey levels; of
    label maps also differing, the largest share of a picture's pixels that have
    another color. Both run on the CPU; torch computes in fp32.
    """
    translator = Translator(bundle, provider="cpu")
    pixels = Pixels(spec).eval()
    worst, total, decibels, differing = 0.0, 0.0, [], 0.0
    for to in spec.labels.names[:DOMAINS] or (None,):
        for picture, ours in zip(pictures, translator(pictures, to=to), strict=True):
            reference = _in_torch(pixels, picture, translator.domain(to))
            difference = np.abs(levels(spec, reference, ours))
            worst = max(worst, float(difference.max()))
            total += float(difference.mean())
            decibels.append(psnr(difference))
            differing = max(differing, float(difference.any(-1).mean()))
    by_kind = {"differing": differing} if spec.palette else {}
    intensity = spec.intensity_out
    if intensity and intensity.is_of_integers and not intensity.decibels:
        widths = np.array(intensity.high) - np.array(intensity.low)
        by_kind = {"unit_levels": float(255 / widths.min())}
    return {
        **by_kind,
        "max_levels": worst,
        "mean_levels": total / len(decibels),
        "psnr_mean": float(np.mean(decibels)),
        "psnr_worst": float(min(decibels)),
        "pictures": float(len(pictures)),
    }


def measure_bf16(spec: ExportSpec, bundle: Path, pictures: list[np.ndarray]) -> dict[str, float]:
    """The PSNR of computing in bf16 against the bundle as it is, over the pictures and domains.

    Keys: bf16_psnr_mean and bf16_psnr_worst. Computed by OpenVINO if it is installed and the CPU
    has bf16, as with the provider "auto"; else by torch's autocast, whose rounding errors are
    larger (2 to 3 dB).
    """
    exact, pixels = Translator(bundle, "cpu"), Pixels(spec).eval()
    by_openvino = openvino.is_installed() and openvino.pays_off()
    rounding = Translator(bundle, "openvino") if by_openvino else None

    def both(picture: np.ndarray, to: str | None) -> tuple[np.ndarray, np.ndarray]:
        if rounding:
            return exact(picture, to), rounding(picture, to)
        reference = _in_torch(pixels, picture, exact.domain(to))
        with torch.autocast("cpu", torch.bfloat16):
            return reference, _in_torch(pixels, picture, exact.domain(to))

    return _decibels("bf16", spec, pictures, both)


def measure_fp16(spec: ExportSpec, bundle: Path, pictures: list[np.ndarray]) -> dict[str, float]:
    """The PSNR of computing in fp16, except for the norms, against fp32, over the pictures and
    domains.

    Keys: fp16_psnr_mean and fp16_psnr_worst. Both are computed by torch, because onnxruntime's CPU
    provider computes a graph of fp16 in fp32.
    """
    domain_of = Translator(bundle, "cpu").domain
    exact, rounding = Pixels(spec).eval(), Pixels(spec, "fp16").eval()

    def both(picture: np.ndarray, to: str | None) -> tuple[np.ndarray, np.ndarray]:
        domain = domain_of(to)
        return _in_torch(exact, picture, domain), _in_torch(rounding, picture, domain)

    return _decibels("fp16", spec, pictures, both)


def _decibels(
    name: str,
    spec: ExportSpec,
    pictures: list[np.ndarray],
    both: Callable[[np.ndarray, str | None], tuple[np.ndarray, np.ndarray]],
) -> dict[str, float]:
    """The mean and the worst PSNR over the pictures and domains. both: translates a picture exactly
    and with rounding.
    """
    decibels = []
    for to in spec.labels.names[:DOMAINS] or (None,):
        for picture in pictures:
            reference, rounded = both(picture, to)
            decibels.append(psnr(levels(spec, reference, rounded)))
    return {f"{name}_psnr_mean": float(np.mean(decibels)), f"{name}_psnr_worst": min(decibels)}


def levels(spec: ExportSpec, reference: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The difference in grey levels of 255; of other pictures than photographs, of their range."""
    if spec.intensity_out:
        difference: np.ndarray = spec.intensity_out.levels(reference, other)
        return difference
    return np.asarray(reference.astype(int) - other.astype(int))


@torch.no_grad()
def _in_torch(pixels: Pixels, picture: np.ndarray, domain: np.ndarray | None) -> np.ndarray:
    """[H, W, C] -> [H, W, C']; domain: the label vector of a model with domains."""
    label = None if domain is None else torch.from_numpy(domain)[None]
    output: np.ndarray = pixels(torch.from_numpy(picture.copy())[None], label)[0].numpy()
    return output


def psnr(difference: np.ndarray) -> float:
    """The PSNR in dB of a difference in grey levels; 100 where it is 0."""
    error = float(np.square(difference, dtype=np.float64).mean())
    return float(10 * np.log10(255**2 / error)) if error else 100.0


def require(
    parity: dict[str, float],
    bundle: str,
    precision: Precision = "fp32",
    half_weights: bool = False,
) -> None:
    """Raises Img2ImgError where the bundle differs from torch more than its precision, or the
    rounding of its weights, explains.
    """
    form = HALF_WEIGHTS if half_weights else precision
    remedy = "without --half-weights" if half_weights else "in fp32"
    if "differing" in parity:
        if parity["differing"] > MOST_DIFFERING[form]:
            raise Img2ImgError(
                f"In {form} {parity['differing']:.1%} of a label map's pixels have another "
                f"color than in torch ({MOST_DIFFERING[form]:.1%} is allowed), so {bundle} "
                f"was not written. Export {remedy}; if this was fp32, please report it."
            )
        return
    if form in WORST_DB:
        if parity["psnr_worst"] < WORST_DB[form]:
            raise Img2ImgError(
                f"In {form}, the PSNR of a picture against torch is only "
                f"{parity['psnr_worst']:.1f} dB ({WORST_DB[form]:.0f} dB are required), so "
                f"{bundle} was not written. Export this model {remedy}."
            )
        return
    # Of integers in a narrow range, a rounded unit is more than a level.
    if parity["max_levels"] > max(TOLERANCE, 1.01 * parity.get("unit_levels", 0.0)):
        raise Img2ImgError(
            f"The export differs from torch by up to {parity['max_levels']:.0f} grey levels "
            f"(mean {parity['mean_levels']:.3f}; {TOLERANCE} is allowed), so {bundle} was not "
            "written. Please report this, with the run's config.json."
        )
