"""Pictures run in tiles against the same pictures run whole."""

import numpy as np
import onnxruntime as ort
import pytest
import torch

from img2img import images
from img2img.errors import UsageError
from img2img.export import graph
from img2img.files import find_pictures
from img2img.infer.registry import shipped
from img2img.infer.tile import Tiler
from img2img.infer.translator import Translator
from img2img.manifest import Labels
from img2img.methods.base import ExportSpec
from img2img.nets.init import init_normal
from img2img.nets.modulated import ModulatedResNet
from img2img.nets.resnet import ResNet
from img2img.nets.stargan import StarGenerator
from img2img.sizes import Size
from img2img.training.config import RunConfig

NAMES = ("dawn", "dusk")


@pytest.fixture(scope="module")
def wall() -> np.ndarray:
    """A large picture of many things, of odd height and width."""
    files = list(find_pictures(shipped("quickstart") / "test" / "flat"))[:30]
    pixels = [images.read(path).pixels for path in files]
    rows = [np.hstack([pixels[(6 * row + i) % 30] for i in range(6)]) for row in range(5)]
    return np.vstack(rows)[:317, :370]


def save(module, labels, path, precision="fp32", statistics="image") -> Translator:
    """With weights that make colours depend on the statistics, as trained ones do."""
    torch.manual_seed(1)
    init_normal(module, std=0.05)
    spec = ExportSpec(module, 3, 3, labels, statistics)
    config = RunConfig(mode="cyclegan", name="m", method={"size": 64}, sources={})
    direction = "to" if labels.sets else "ab"
    manifest = graph.make_manifest(config, direction, spec, {}, {}, precision)
    graph.write(graph.trace(spec, Size(64, 64), precision=precision), manifest, path)
    return Translator(path, "cpu")


@pytest.fixture(scope="module")
def resnet(tmp_path_factory) -> Translator:
    return save(ResNet(3, 3, 4, 2, "instance"), Labels(), tmp_path_factory.mktemp("m") / "r.onnx")


@pytest.fixture(scope="module")
def deep(tmp_path_factory) -> Translator:
    """Of nine blocks, and so 23 norms."""
    return save(ResNet(3, 3, 4, 9, "instance"), Labels(), tmp_path_factory.mktemp("m") / "d.onnx")


@pytest.fixture(scope="module")
def stargan(tmp_path_factory) -> Translator:
    labels = Labels(sets=[{"kind": "classes", "domains": NAMES}])
    return save(StarGenerator(3, 2, 4, 1), labels, tmp_path_factory.mktemp("m") / "s.onnx")


@pytest.fixture(scope="module")
def modulated(tmp_path_factory) -> Translator:
    """A generator with norms in its encoder alone, and with a gate."""
    labels = Labels(sets=[{"kind": "classes", "domains": NAMES}])
    network = ModulatedResNet(3, 3, 2, 4, 1, "nearest", antialias=True, residual="gated")
    return save(network, labels, tmp_path_factory.mktemp("m") / "m.onnx")


def off(one: np.ndarray, other: np.ndarray) -> float:
    """Mean distance in grey levels."""
    return float(np.abs(one.astype(int) - other).mean())


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """But for rounding: a level at most, and in few places."""
    apart = np.abs(one.astype(int) - other)
    return apart.max() <= 1 and apart.mean() < 0.01


def test_tiles_give_what_the_whole_picture_gives(resnet, wall):
    tiled, whole = Tiler(resnet, 96)(wall), resnet(wall)
    assert tiled.shape == wall.shape
    assert same(tiled, whole)
    rows = [[resnet(part) for part in np.split(half, [200], 1)] for half in np.split(wall, [160])]
    apart = np.vstack([np.hstack(row) for row in rows])
    assert off(apart, whole) > 1  # the parts alone are something else


def test_a_network_of_many_norms_gives_the_same(deep, wall):
    tiler = Tiler(deep, 192)
    assert len(tiler.graph.normalised) == 23
    assert same(tiler(wall), deep(wall))


def test_a_trained_network_gives_the_same(wall):
    trained, part = Translator("four-styles", "cpu"), wall[:240, :220]
    domain = trained.manifest.labels.vector(0, {"noto"})
    assert same(Tiler(trained, 128)(part, domain), trained(part, "noto"))


@pytest.mark.parametrize("shape", [(3, 330), (280, 1), (97, 193)])
def test_strips_and_narrow_last_tiles_give_the_same(resnet, wall, shape):
    part = wall[32 : 32 + shape[0], 32 : 32 + shape[1]]
    assert same(Tiler(resnet, 96)(part), resnet(part))


def test_half_precision_can_be_tiled(wall, tmp_path):
    half = save(ResNet(3, 3, 4, 2, "instance"), Labels(), tmp_path / "h.onnx", "fp16")
    tiled, whole = Tiler(half, 192)(wall), half(wall)
    assert np.abs(tiled.astype(int) - whole).max() <= 2
    assert off(tiled, whole) < 0.05


def test_running_averages_need_no_round(wall, tmp_path):
    network = ResNet(3, 3, 4, 1, "batch")
    running = save(network, Labels(), tmp_path / "b.onnx", statistics="running")
    tiler = Tiler(running, 96)
    assert not tiler.graph.normalised
    assert same(tiler(wall), running(wall))


def test_the_statistics_are_those_of_the_whole_picture(resnet, wall):
    """Of the first norm: of what the first convolution gives."""
    tiler, picture = Tiler(resnet, 96), wall[:316, :368]
    [x] = ort.InferenceSession(tiler.graph.before(0)[0]).run(None, {"image": picture[None]})
    found = tiler.statistics(0, picture, {})
    assert np.allclose(found["norm_0_mean"], x[0].mean((1, 2), np.float64), atol=1e-6)
    assert np.allclose(found["norm_0_variance"], x[0].var((1, 2), np.float64), rtol=1e-5)


def test_a_norm_is_given_by_the_graph_up_to_it(deep):
    """So that a round costs no more than it must, in time and in memory."""
    sizes = [len(Tiler(deep, 192).graph.before(number)[0]) for number in range(23)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] / 10


def test_openvino_runs_tiles_in_full_precision(resnet, wall):
    pytest.importorskip("openvino")
    tiled = Tiler(Translator(resnet.path, "openvino"), 192)(wall)
    assert same(tiled, resnet(wall))


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
    assert same(Tiler(resnet, 400)(wall), resnet(wall))


@pytest.mark.parametrize("generator", ["stargan", "modulated"])
def test_every_domain_can_be_tiled(generator, wall, request):
    model = request.getfixturevalue(generator)
    tiler = Tiler(model, 96)
    results = [tiler(wall, model.domain(name)) for name in NAMES]
    for name, tiled in zip(NAMES, results, strict=True):
        assert same(tiled, model(wall, name))
    assert off(*results) > 1


def test_a_network_that_sees_all_at_once_can_not_be_tiled():
    with pytest.raises(UsageError, match="depends on the whole picture"):
        Tiler(Translator(shipped("weights") / "flat-to-3d.onnx", "cpu"), 256)
