"""Pictures run in tiles against the same pictures run whole."""

import numpy as np
import onnxruntime as ort
import pytest
import torch

from img2img import images
from img2img.box import Box
from img2img.errors import UsageError
from img2img.export import graph
from img2img.files import find_pictures
from img2img.infer.registry import shipped
from img2img.infer.tile import Part, Progress, Tiler, _Pixels, _Result
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
    assert len(tiler.graph.normalized) == 23
    assert same(tiler(wall), deep(wall))


def test_a_trained_network_gives_the_same(wall):
    trained, part = Translator("three-styles", "cpu"), wall[:240, :220]
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
    assert not tiler.graph.normalized
    assert same(tiler(wall), running(wall))


def test_the_statistics_are_those_of_the_whole_picture(resnet, wall):
    """Of the first norm: of what the first convolution gives."""
    tiler, picture = Tiler(resnet, 96), wall[:316, :368]
    [x] = ort.InferenceSession(tiler.graph.before(0)[0]).run(None, {"image": picture[None]})
    mean, variance = statistics_of(tiler, picture)
    assert np.allclose(mean, x[0].mean((1, 2), np.float64), atol=1e-6)
    assert np.allclose(variance, x[0].var((1, 2), np.float64), rtol=1e-5)


def test_statistics_of_some_tiles_are_those_of_their_pixels(resnet, wall):
    tiler, picture = Tiler(resnet, 64, norm_tiles=10), wall[:316, :368]
    [x] = ort.InferenceSession(tiler.graph.before(0)[0]).run(None, {"image": picture[None]})
    corners = [(top, left) for top in range(0, 316, 64) for left in range(0, 368, 64)]
    assert len(corners) == 30
    seen = [x[0][:, t : t + 64, left : left + 64].reshape(4, -1) for t, left in corners[::3]]
    mean, variance = statistics_of(tiler, picture)
    assert np.allclose(mean, np.hstack(seen).mean(1, np.float64), atol=1e-6)
    assert np.allclose(variance, np.hstack(seen).var(1, np.float64), rtol=1e-5)


def test_a_picture_goes_on_where_it_was_stopped(resnet, wall):
    """With the same result, bit for bit, wherever that was."""
    wall = wall[:180, :190]
    whole = Tiler(resnet, 96)(wall)
    tiler = Tiler(resnet, 96)
    steps = tiler.count(wall.shape[:2])
    assert steps == (len(tiler.graph.normalized) + 1) * 4
    for stop in (1, 4, 5, steps - 3):
        result, progress = np.zeros_like(whole), Progress()
        canvas = _Result(result)
        for _ in range(stop):
            steps_left = tiler.steps(_Pixels(wall), canvas, None, progress)
            next(steps_left)
            steps_left.close()
        left = sum(1 for _ in Tiler(resnet, 96).steps(_Pixels(wall), canvas, None, progress))
        assert left == steps - stop
        np.testing.assert_array_equal(result, whole)


def test_tiles_without_a_value_are_not_run(resnet, wall):
    """And what they hold has no part in the statistics."""

    empty: list[Box] = []
    wall = wall[:180, :370]

    class Half:
        shape = wall.shape[:2]

        def __init__(self, filler: int, told: bool):
            self.filler, self.told = filler, told

        def read(self, box: Box) -> Part:
            missing = np.broadcast_to(np.arange(self.shape[1]) >= 192, self.shape)
            values = np.where(missing[..., None], np.uint8(self.filler), wall)
            return Part(box.of(values), box.of(missing) if self.told else None)

    class Written(_Result):
        def write(self, box, values, missing):
            if values is None:
                assert box.left >= 192
                assert missing is None
                empty.append(box)
            else:
                super().write(box, values, missing)

    def result(filler: int, told: bool) -> np.ndarray:
        pixels = np.zeros_like(wall)
        tiler = Tiler(resnet, 96)
        for _ in tiler.steps(Half(filler, told), Written(pixels), None, Progress()):
            pass
        return pixels[:, : 192 - tiler.margin]

    skipped = off(result(0, told=True), result(255, told=True))
    assert len(empty) == 2 * 4
    # The margins of the tiles beside them still hold a little of it.
    assert skipped < off(result(0, told=False), result(255, told=False)) / 4
    assert len(empty) == 2 * 4


def statistics_of(tiler: Tiler, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the first norm."""
    progress = Progress()
    for _ in tiler.steps(_Pixels(picture), _Result(picture.copy()), None, progress):
        if progress.statistics:
            return progress.statistics[0]
    raise AssertionError("the model has no norm")


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
