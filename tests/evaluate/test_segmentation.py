"""The FCN score: against hand-made counts, and with ONNX segmenters of every layout."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from img2img.errors import DataError
from img2img.evaluate.segmentation import Segmenter, class_accuracy, class_iou, pixel_accuracy

# A pixel is of the class whose colour is the strongest: red, green or blue.
COLOURS = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def segmenter(path, dtype=TensorProto.FLOAT, first=True, labels=False, size=None, external=False):
    """The strongest channel is the class; as scores [N, 3, H, W] or labels [N, H, W]."""
    sides = [size, size] if size else ["h", "w"]
    shape = ["n", 3, *sides] if first else ["n", *sides, 3]
    axis = 1 if first else 3
    given = helper.make_tensor_value_info("pixels", dtype, shape)
    nodes = [helper.make_node("Cast", ["pixels"], ["x"], to=TensorProto.FLOAT)]
    if labels:
        nodes.append(helper.make_node("ArgMax", ["x"], ["out"], axis=axis, keepdims=0))
        result = helper.make_tensor_value_info("out", TensorProto.INT64, ["n", *sides])
    else:
        nodes.append(helper.make_node("Identity", ["x"], ["out"]))
        result = helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "segmenter", [given], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.fixture
def maps(tmp_path):
    """A label map of 3 classes and one unlabelled corner, and the picture in its colours."""
    truth = np.zeros((8, 12), np.uint8)
    truth[:, 4:8], truth[:, 8:] = 1, 2
    picture = np.array(COLOURS, np.uint8)[truth]
    truth[0, 0] = 255
    (tmp_path / "labels").mkdir()
    Image.fromarray(truth).save(tmp_path / "labels" / "one.png")
    return tmp_path / "labels", picture


@pytest.mark.parametrize("scale", ["imagenet", "unit", "signed", "raw"])
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("first", [True, False])
def test_a_perfect_picture_is_seen_as_its_map(tmp_path, maps, scale, labels, first):
    folder, picture = maps
    model = segmenter(tmp_path / "m.onnx", first=first, labels=labels)
    confusion = Segmenter(model, folder, scale).confusion("one", picture)
    assert confusion.sum() == 8 * 12 - 1  # without the corner
    assert np.diag(confusion)[:3].tolist() == [31, 32, 32]
    assert pixel_accuracy(confusion) == class_accuracy(confusion) == class_iou(confusion) == 1


def test_a_uint8_model_of_a_fixed_size_gets_pixels_of_that_size(tmp_path, maps):
    folder, picture = maps
    model = segmenter(tmp_path / "m.onnx", TensorProto.UINT8, first=False, size=48)
    seer = Segmenter(model, folder)
    confusion = seer.confusion("one", picture)
    assert "48x48" in seer.describe()
    assert confusion.sum() == 8 * 12 - 1
    assert pixel_accuracy(confusion) > 0.95  # the borders are a little soft


def test_wrong_pixels_are_counted_under_their_true_class(tmp_path, maps):
    folder, picture = maps
    picture = picture.copy()
    picture[:, 4:6] = COLOURS[2]  # half of class 1 looks like class 2
    confusion = Segmenter(segmenter(tmp_path / "m.onnx"), folder).confusion("one", picture)
    assert confusion[1].tolist() == [0, 16, 16, 0]


def test_scores_of_known_counts():
    """The formulas of the paper's reference [39], Long et al. 2015, section 5."""
    confusion = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]])  # nothing of the third class
    assert pixel_accuracy(confusion) == pytest.approx(9 / 12)
    assert class_accuracy(confusion) == pytest.approx((6 / 8 + 3 / 4) / 2)
    assert class_iou(confusion) == pytest.approx((6 / 9 + 3 / 6) / 2)


def test_maps_in_colours_need_a_palette(tmp_path, maps):
    folder, picture = maps
    model = segmenter(tmp_path / "m.onnx")
    Image.fromarray(picture).save(folder / "one.png")
    with pytest.raises(DataError, match="--palette FILE tells"):
        Segmenter(model, folder).confusion("one", picture)
    palette = tmp_path / "palette.json"
    palette.write_text(json.dumps(COLOURS))
    shaky = np.clip(picture.astype(int) - 9, 0, 255).astype(np.uint8)  # as JPEG might
    Image.fromarray(shaky).save(folder / "one.png")
    confusion = Segmenter(model, folder, palette=palette).confusion("one", picture)
    assert confusion.tolist() == [[32, 0, 0, 0], [0, 32, 0, 0], [0, 0, 32, 0]]


def test_labels_that_the_palette_has_not_are_mistakes(tmp_path, maps):
    folder, picture = maps
    Image.fromarray(np.array(COLOURS, np.uint8)[np.arange(96).reshape(8, 12) % 2]).save(
        folder / "one.png"
    )
    palette = tmp_path / "palette.json"
    palette.write_text(json.dumps(COLOURS[:2]))
    model = segmenter(tmp_path / "m.onnx", labels=True)
    confusion = Segmenter(model, folder, palette=palette).confusion("one", picture)
    assert confusion.tolist() == [[16, 16, 16], [16, 16, 16]]  # a third of the picture is blue
    assert pixel_accuracy(confusion) == pytest.approx(1 / 3)
    assert class_iou(confusion) == pytest.approx(16 / 64)


def test_palette_files_are_read_by_index(tmp_path, maps):
    folder, picture = maps
    image = Image.open(folder / "one.png").convert("L")
    image.putpalette([9, 9, 9] * 256)
    image.save(folder / "one.png")
    confusion = Segmenter(segmenter(tmp_path / "m.onnx"), folder).confusion("one", picture)
    assert np.diag(confusion).tolist() == [31, 32, 32]


def test_labels_with_a_channel_are_labels_and_one_score_is_refused(tmp_path, maps):
    folder, picture = maps

    def one(kind, node, elements):
        given = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, "h", "w"])
        result = helper.make_tensor_value_info("out", elements, [1, 1, "h", "w"])
        graph = helper.make_graph([node], "one", [given], [result])
        opset = helper.make_opsetid("", 17)
        onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), kind)
        return Segmenter(kind, folder)

    strongest = helper.make_node("ArgMax", ["pixels"], ["out"], axis=1, keepdims=1)
    seer = one(tmp_path / "labels.onnx", strongest, TensorProto.INT64)
    wrong = picture[:, ::-1].copy()
    assert np.diag(seer.confusion("one", wrong))[:3].tolist() == [0, 32, 0]
    mean = helper.make_node("ReduceMean", ["pixels"], ["out"], axes=[1], keepdims=1)
    seer = one(tmp_path / "score.onnx", mean, TensorProto.FLOAT)
    with pytest.raises(DataError, match="one score a pixel"):
        seer.confusion("one", picture)


def test_a_map_without_labels_or_half_a_file_is_told(tmp_path, maps):
    folder, picture = maps
    seer = Segmenter(segmenter(tmp_path / "m.onnx"), folder)
    Image.fromarray(np.full((8, 12), 255, np.uint8)).save(folder / "one.png")
    with pytest.raises(DataError, match="no pixel with one of 3 labels"):
        seer.confusion("one", picture)
    noise = np.random.default_rng(0).integers(0, 3, (64, 64)).astype(np.uint8)
    Image.fromarray(noise).save(folder / "one.png")
    whole = (folder / "one.png").read_bytes()
    (folder / "one.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"one\.png: the labels can't be decoded"):
        seer.confusion("one", picture)


def test_what_does_not_fit_is_told(tmp_path, maps):
    folder, picture = maps
    with pytest.raises(DataError, match="There is no label map for two"):
        Segmenter(segmenter(tmp_path / "m.onnx"), folder).confusion("two", picture)
    (tmp_path / "palette.json").write_text("[[1, 2]]")
    with pytest.raises(DataError, match="must be a list of"):
        Segmenter(tmp_path / "m.onnx", folder, palette=tmp_path / "palette.json")
    (tmp_path / "no.onnx").write_bytes(b"no model")
    with pytest.raises(DataError, match="not an ONNX model"):
        Segmenter(tmp_path / "no.onnx", folder)
