"""Pictures run in tiles against the same pictures run whole."""

import numpy as np
import pytest

from img2img import images
from img2img.errors import UsageError
from img2img.export import graph
from img2img.files import find_pictures
from img2img.infer.registry import shipped
from img2img.infer.tile import Tiler
from img2img.infer.translator import Translator
from img2img.manifest import Labels, Manifest
from img2img.methods.base import ExportSpec
from img2img.nets.init import init_normal
from img2img.nets.resnet import ResNet
from img2img.nets.stargan import StarGenerator

NAMES = ("dawn", "dusk")


@pytest.fixture(scope="module")
def wall() -> np.ndarray:
    """A large picture of many things, of odd height and width."""
    files = list(find_pictures(shipped("quickstart") / "test" / "flat"))[:30]
    pixels = [images.read(path).pixels for path in files]
    rows = [np.hstack([pixels[(6 * row + i) % 30] for i in range(6)]) for row in range(5)]
    return np.vstack(rows)[:317, :370]


def save(module, labels, path) -> Translator:
    """With weights that make colours depend on the statistics, as trained ones do."""
    import torch

    torch.manual_seed(1)
    init_normal(module, std=0.05)
    spec = ExportSpec(module, 4, 3, 3, labels)
    said = {"name": "m", "method": "cyclegan", "direction": "ab", "size_multiple": 4}
    manifest = Manifest(**said, trained_size=64, labels=labels)
    graph.write(graph.trace(spec, 64), manifest, path)
    return Translator(path, "cpu")


@pytest.fixture(scope="module")
def resnet(tmp_path_factory) -> Translator:
    return save(ResNet(3, 3, 4, 2, "instance"), Labels(), tmp_path_factory.mktemp("m") / "r.onnx")


@pytest.fixture(scope="module")
def stargan(tmp_path_factory) -> Translator:
    labels = Labels(sets=[{"kind": "classes", "domains": NAMES}])
    return save(StarGenerator(3, 2, 4, 1), labels, tmp_path_factory.mktemp("m") / "s.onnx")


def off(one: np.ndarray, other: np.ndarray) -> float:
    """Mean distance in grey levels."""
    return float(np.abs(one.astype(int) - other).mean())


def test_tiles_give_what_the_whole_picture_gives(resnet, wall):
    tiled, whole = Tiler(resnet, 96)(wall), resnet(wall)
    assert tiled.shape == wall.shape
    assert off(tiled, whole) < 1
    rows = [[resnet(part) for part in np.split(half, [200], 1)] for half in np.split(wall, [160])]
    apart = np.vstack([np.hstack(row) for row in rows])
    assert off(tiled, whole) < off(apart, whole) / 10


def test_at_1024_px_tiles_are_within_two_grey_levels(resnet, wall):
    large = images.resize(wall, 1024, 1024)
    tiled = Tiler(resnet, 256)(large)
    assert off(tiled, resnet(large)) < 2


def test_openvino_runs_tiles_in_full_precision(resnet, wall):
    pytest.importorskip("openvino")
    tiled = Tiler(Translator(resnet.path, "openvino"), 96)(wall)
    assert off(tiled, resnet(wall)) < 1


def test_there_is_no_seam_where_tiles_meet(resnet, wall):
    """The error beside the borders of tiles is no larger than anywhere else."""
    tiler = Tiler(resnet, 96)
    error = np.abs(tiler(wall).astype(int) - resnet(wall)).mean(2)
    borders = [at for side in (0, 1) for at in range(tiler.side, wall.shape[side], tiler.side)]
    near = np.zeros(wall.shape[:2], bool)
    for at in borders:
        near[at - 2 : at + 2] = True
        near[:, at - 2 : at + 2] = True
    assert error[near].mean() < error.mean() + 0.5


def test_a_tile_as_large_as_the_picture_is_the_picture(resnet, wall):
    assert off(Tiler(resnet, 400)(wall), resnet(wall)) < 0.5


def test_every_domain_can_be_tiled(stargan, wall):
    tiler = Tiler(stargan, 96)
    results = [tiler(wall, stargan.domain(name)) for name in NAMES]
    for name, tiled in zip(NAMES, results, strict=True):
        assert off(tiled, stargan(wall, name)) < 1
    assert off(*results) > 1


def test_a_network_that_sees_all_at_once_can_not_be_tiled():
    with pytest.raises(UsageError, match="looks at the whole picture"):
        Tiler(Translator(shipped("weights") / "flat-to-3d.onnx", "cpu"), 256)
