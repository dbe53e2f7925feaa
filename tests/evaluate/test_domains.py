"""StarGAN's measure: a classifier that learned from real pictures judges the translated ones."""

import shutil

import numpy as np
import pytest

from img2img import images
from img2img.data.sources import Sources
from img2img.errors import DataError
from img2img.evaluate.domains import ERROR, REAL_ERROR, evaluate_domains
from img2img.evaluate.features import extractor
from img2img.files import pictures
from img2img.infer.registry import shipped
from img2img.manifest import Labels, LabelSet, Manifest


class Styler:
    """Stands in for a model that knows the truth: it gives the same emoji in the other style."""

    sha256, provider, precision = "0" * 64, "cpu", "fp32"

    def __init__(self, folder, labels: Labels, perfect: bool):
        self.manifest = Manifest.model_construct(
            name="styler", method="stargan", in_channels=3, out_channels=3, labels=labels
        )
        self.perfect, self.asked = perfect, []
        names = [path.name for path in pictures(folder / "flat")]
        read = {
            style: [images.read(folder / style / name).pixels for name in names]
            for style in ("flat", "3d")
        }
        self.other = {}
        for flat, deep in zip(read["flat"], read["3d"], strict=True):
            self.other[flat.tobytes()], self.other[deep.tobytes()] = deep, flat

    def __call__(self, shown, to=None):
        self.asked.append(to)
        return [self.other.get(p.tobytes(), p) if self.perfect else p for p in shown]


@pytest.fixture(scope="module")
def styles(tmp_path_factory):
    """24 emoji in each of two styles."""
    folder = tmp_path_factory.mktemp("styles")
    for style in ("flat", "3d"):
        (folder / style).mkdir()
        for path in pictures(shipped("quickstart") / "test" / style)[:24]:
            shutil.copy(path, folder / style / path.name)
    return folder


@pytest.fixture(scope="module")
def measure(quiet):
    network = extractor("efficientnet-lite0")

    def get(data, translator, wanted=(ERROR, REAL_ERROR), **options):
        found = evaluate_domains(
            data, translator, network, quiet, wanted=wanted, resamples=20, **options
        )
        return found, {metric.name: metric.value for metric in found.metrics}

    return get


CLASSES = Labels(sets=(LabelSet(kind="classes", domains=("3d", "flat")),))


def test_perfect_translations_err_as_real_pictures_do_and_untouched_ones_always(styles, measure):
    perfect, numbers = measure(Sources(data=(styles,)), Styler(styles, CLASSES, True))
    assert numbers[REAL_ERROR] < 0.15
    assert numbers[ERROR] == pytest.approx(numbers[REAL_ERROR], abs=0.05)
    _, lazy = measure(Sources(data=(styles,)), Styler(styles, CLASSES, False))
    assert lazy[ERROR] == pytest.approx(1 - numbers[REAL_ERROR])
    assert "the other half" in perfect.protocol["classifier"]
    assert perfect.scores.keys() == perfect.cases.keys()
    assert len(perfect.cases) == 48


def test_the_classifier_can_learn_from_other_pictures(styles, measure, tmp_path):
    for style in ("flat", "3d"):
        (tmp_path / style).mkdir()
        for path in pictures(shipped("quickstart") / "train" / style)[::20]:
            shutil.copy(path, tmp_path / style)
    found, numbers = measure(
        Sources(data=(styles,)),
        Styler(styles, CLASSES, True),
        train=Sources(data=(tmp_path,)),
    )
    assert numbers[REAL_ERROR] < 0.15
    assert "other real pictures" in found.protocol["classifier"]


def test_of_a_published_data_set_the_test_part_is_measured(styles, measure, tmp_path):
    for number, path in enumerate(pictures(styles)):
        part = "test" if number % 2 else "train"
        (tmp_path / part / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / part / path.parent.name)
    whole = Sources(data=(tmp_path,))
    result, _ = measure(whole, Styler(styles, CLASSES, True), train=whole)
    assert result.protocol["real"] == "24 pictures (3d 12, flat 12)"
    assert "24 other real pictures" in result.protocol["classifier"]


def test_attributes_are_switched_on_one_by_one(styles, measure, tmp_path):
    """Red or not, from a list; what a picture has besides is asked for, too."""
    lines = []
    folder = tmp_path / "all"
    folder.mkdir()
    for style in ("flat", "3d"):
        for path in pictures(styles / style):
            name = f"{style}-{path.name}"
            shutil.copy(path, folder / name)
            pixels = images.read(path).pixels.astype(int)
            red = np.mean(pixels[..., 0] - pixels[..., 2]) > 8
            lines.append(f"{name} {1 if red else -1} {1 if style == '3d' else -1}")
    (tmp_path / "list.txt").write_text("\n".join([str(len(lines)), "Red Deep", *lines]))
    data = Sources(data=(folder,), attributes=tmp_path / "list.txt", attribute=("Red", "Deep"))
    labels = Labels(sets=(LabelSet(kind="attributes", domains=("Red", "Deep")),))
    model = Styler(styles, labels, True)
    _, numbers = measure(data, model, wanted=[ERROR, "cycle_l1"])
    _, lazy = measure(data, Styler(styles, labels, False))
    assert numbers[f"Deep/{ERROR}"] < 0.2  # its truths are deep
    assert lazy[f"Deep/{ERROR}"] > 0.8
    assert numbers["Red/cycle_l1"] == numbers["Deep/cycle_l1"] == 0
    asked = {tuple(to.tolist()) for to in model.asked}
    assert asked == {(0, 0), (0, 1), (1, 0), (1, 1)}  # nothing at all: on the way back


def test_a_kind_of_one_picture_is_left_out_and_nothing_breaks(styles, measure, tmp_path):
    folder = tmp_path / "data"
    for style, count in (("flat", 6), ("3d", 1)):
        (folder / style).mkdir(parents=True)
        for path in pictures(styles / style)[:count]:
            shutil.copy(path, folder / style)
    with pytest.raises(DataError, match="needs at least two pictures of each kind"):
        measure(Sources(data=(folder,)), Styler(styles, CLASSES, True))


def test_pictures_of_other_domains_are_refused(styles, measure):
    other = Labels(sets=(LabelSet(kind="classes", domains=("3d", "noto")),))
    with pytest.raises(DataError, match="domains 3d, flat; styler translates to 3d, noto"):
        measure(Sources(data=(styles,)), Styler(styles, other, True))


def test_a_distance_between_few_pictures_is_refused_before_the_work(styles, quiet):
    model, network = Styler(styles, CLASSES, True), extractor("efficientnet-lite0")
    with pytest.raises(DataError, match="lite0_kernel would mislead here: 24 pictures"):
        evaluate_domains(
            Sources(data=(styles,)), model, network, quiet, wanted=["lite0_kernel"], resamples=0
        )
    assert model.asked == []
