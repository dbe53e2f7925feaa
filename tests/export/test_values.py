"""Graphs map stored values as Intensity does in numpy, for every type, and keep missing pixels."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn

from img2img.errors import Img2ImgError
from img2img.export.graph import trace
from img2img.export.parity import require
from img2img.export.values import FromNetwork, ToNetwork
from img2img.intensity import Intensity, stacked
from img2img.methods.base import ExportSpec
from img2img.nets.generator import Generator
from img2img.sizes import Size

RANDOM = np.random.default_rng(0)
INTENSITIES = {
    "uint8": Intensity(dtype="uint8", bands=("1", "2"), low=(0, 10), high=(255, 100)),
    "uint16": Intensity(dtype="uint16", bands=("1", "2"), low=(0, 0), high=(65_535, 4095)),
    "int16": Intensity(dtype="int16", bands=("1", "2"), low=(-1024, -100), high=(3071, 100)),
    "int32": Intensity(dtype="int32", bands=("1", "2"), low=(-1e6, 0), high=(1e6, 9)),
    "float32": Intensity(dtype="float32", bands=("1", "2"), low=(0, -1), high=(1, 2)),
    "nodata": Intensity(dtype="int16", bands=("1", "2"), low=(0, 0), high=(100, 100), nodata=-9999),
    "largest": Intensity(
        dtype="int32", bands=("1", "2"), low=(0, 0), high=(9, 9), nodata=2**31 - 1
    ),
    "marked": Intensity(dtype="uint16", bands=("1", "2"), low=(0, 40), high=(90, 100), nodata=70),
    "decibels": Intensity(
        dtype="float32", bands=("1", "2"), low=(-25, -20), high=(5, 0), decibels=True
    ),
}


class Same(Generator):
    """Gives what it gets, as a network that has learned to change nothing."""

    size_multiple, min_size = 4, 8

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, image):
        return image * self.weight


@pytest.fixture(params=INTENSITIES)
def intensity(request):
    return INTENSITIES[request.param]


def drawn(intensity: Intensity, height: int = 13, width: int = 10) -> np.ndarray:
    """Stored values within the ranges, with missing pixels where there may be some."""
    mapped = RANDOM.uniform(-1, 1, (height, width, 2))
    values = intensity.from_network(mapped)
    if intensity.may_miss:
        values[3, 4] = intensity.missing_value
    return values


def known(values: np.ndarray, intensity: Intensity) -> np.ndarray:
    """The values with NaN where they are missing, as they are read."""
    wide = values.astype(intensity.held)
    return wide if intensity.nodata is None else np.where(values == intensity.nodata, np.nan, wide)


def test_the_graph_maps_as_numpy_does(intensity):
    values = drawn(intensity)
    x, missing = ToNetwork(intensity)(torch.from_numpy(values)[None])
    expected = intensity.to_network(known(values, intensity))
    assert np.abs(x[0].permute(1, 2, 0).numpy() - expected).max() < 1e-6
    assert (missing is not None) == intensity.may_miss
    back = FromNetwork(intensity)(x, missing)[0].numpy()
    assert back.dtype == intensity.dtype
    tolerance = 0 if intensity.is_of_integers else 1e-5
    assert np.allclose(back, values, rtol=tolerance, atol=tolerance, equal_nan=True)


def test_an_identity_gives_every_stored_value_back(intensity):
    """In onnxruntime, at a size that is padded: integers bit for bit."""
    spec = ExportSpec(Same(), 2, 2, intensity_in=intensity, intensity_out=intensity)
    model = trace(spec, Size(32, 32)).SerializeToString()
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    values = drawn(intensity)
    [result] = session.run(None, {"image": values[None]})
    assert result.dtype == values.dtype
    if intensity.is_of_integers:
        assert np.array_equal(result[0], values)
    else:
        assert np.allclose(result[0], values, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize(
    ("nodata", "dtype", "expected"),
    [(0, "uint8", [1, 2, 4]), (4, "int16", [0, 2, 3]), (2, "int32", [0, 3, 4])],
)
def test_a_known_pixel_is_never_marked_as_missing(nodata, dtype, expected):
    """Neither where the graph knows missing pixels, nor where it does not."""
    intensity = Intensity(dtype=dtype, bands=("1",), low=(0,), high=(4,), nodata=nodata)
    y = torch.tensor([-1.0, 0.0, 1.0]).view(1, 1, 1, 3)
    for missing in (None, torch.zeros(1, 1, 3, 1, dtype=torch.bool)):
        assert FromNetwork(intensity)(y, missing).flatten().tolist() == expected
    assert FromNetwork(intensity)(y, torch.ones(1, 1, 3, 1, dtype=torch.bool)).unique() == nodata
    spec = ExportSpec(Same(), 1, 1, intensity_out=intensity)
    model = trace(spec, Size(32, 32)).SerializeToString()
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    [result] = session.run(None, {"image": np.full((1, 8, 8, 1), 255, np.uint8)})
    assert (result == expected[2]).all()


def test_a_missing_pixel_does_not_reach_the_network():
    """Statistics over the picture would spread a NaN to all of it."""
    intensity = INTENSITIES["float32"]
    values = np.full((1, 8, 8, 2), 0.5, np.float32)
    values[0, 2, 2, 1] = np.nan
    x, missing = ToNetwork(intensity)(torch.from_numpy(values))
    assert torch.isfinite(x).all()
    assert (x[0, :, 2, 2] == 0).all()  # of both bands
    assert missing.sum() == 1


def test_photographs_become_values_and_values_become_photographs():
    depth = INTENSITIES["uint16"]
    for spec, dtypes in (
        (ExportSpec(Same(), 2, 2, intensity_out=depth), (np.uint8, np.uint16)),
        (ExportSpec(Same(), 2, 2, intensity_in=depth), (np.uint16, np.uint8)),
    ):
        model = trace(spec, Size(32, 32)).SerializeToString()
        session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        image = np.full((1, 8, 8, 2), 100, dtypes[0])
        [result] = session.run(None, {"image": image})
        assert result.dtype == dtypes[1]


@pytest.mark.parametrize("high", [20, 100, 254])
def test_a_unit_of_a_narrow_range_may_be_rounded_to_either_side(high):
    """It is more than a grey level of 255."""
    intensity = Intensity(dtype="uint16", bands=("1",), low=(0,), high=(high,))
    one = {"max_levels": 255 / high, "unit_levels": 255 / high, "mean_levels": 0.0}
    require(one, Path("m.onnx"))
    with pytest.raises(Img2ImgError, match="differs from torch"):
        require({**one, "max_levels": 2 * 255 / high}, Path("m.onnx"))
    assert intensity.levels(np.array([[5]]), np.array([[4]])) == pytest.approx(255 / high)


SAR = Intensity(
    name="sar", dtype="float32", bands=("1",), low=(-25,), high=(5,), nodata=-1, decibels=True
)
OPTICAL = Intensity(
    name="optical", dtype="uint16", bands=("1", "2"), low=(0, 10), high=(4095, 99), nodata=0
)
MASK = Intensity(name="mask", dtype="uint8", bands=("1",), low=(0,), high=(255,))


@pytest.mark.parametrize(
    "parts", [(OPTICAL, SAR), (SAR, OPTICAL, MASK), (OPTICAL, MASK), (MASK, MASK)]
)
def test_the_graph_maps_a_stack_as_numpy_does(parts):
    """Each part by its own range, and a pixel that is missing in one of them in none."""
    stack = stacked(parts)
    pieces = [part.from_network(RANDOM.uniform(-1, 1, (6, 5, len(part.bands)))) for part in parts]
    for place, (part, piece) in enumerate(zip(parts, pieces, strict=True)):
        if part.nodata is not None:
            piece[place, 2] = part.nodata
    if SAR in parts:
        pieces[parts.index(SAR)][5, 4] = np.nan
    values = np.concatenate(pieces, -1, dtype=stack.dtype, casting="safe")
    x, missing = ToNetwork(stack)(torch.from_numpy(values)[None])
    gaps = np.zeros((6, 5), bool)
    for part, piece in zip(parts, pieces, strict=True):
        gaps |= np.isnan(piece).any(-1)
        if part.nodata is not None:
            gaps |= (piece == part.nodata).any(-1)
    expected = stack.to_network(np.where(gaps[..., None], np.nan, values))
    assert np.abs(x[0].permute(1, 2, 0).numpy() - expected).max() < 1e-6
    assert gaps.any() == (missing is not None)
    if missing is not None:
        assert np.array_equal(missing[0, ..., 0].numpy(), gaps)


def test_a_stack_becomes_another_type_in_onnxruntime():
    dem = Intensity(dtype="int16", bands=("1", "2", "3"), low=(-500,) * 3, high=(1500,) * 3)
    stack = stacked((OPTICAL, SAR))
    spec = ExportSpec(Same(), 3, 3, intensity_in=stack, intensity_out=dem)
    model = trace(spec, Size(32, 32)).SerializeToString()
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    values = np.full((1, 13, 10, 3), [4095, 10, 10**-1], np.float32)
    values[0, 3, 4, 1] = 0  # missing in optical
    [result] = session.run(None, {"image": values})
    assert result.dtype == np.int16
    middle = -500 + 2000 * (-10 + 25) / 30
    assert (result[0, 3, 4] == 0).all()
    assert np.array_equal(result[0, 0, 0], [1500, -500, middle])
