"""A model as a function from arrays to arrays."""

import io
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from bundles import make_bundle
from PIL import ExifTags, Image

from img2img.errors import DataError, UsageError
from img2img.infer.translator import MAX_BATCH, Translator

DOMAINS = ("dawn", "noon", "dusk")


def test_a_picture_is_translated(invert, noise):
    picture = noise(0, 5, 7)
    (result,) = invert([picture])
    assert result.dtype == np.uint8
    assert np.array_equal(result, 255 - picture)


def test_one_picture_gives_one_and_paths_are_as_good_as_pixels(invert, noise, tmp_path):
    picture, path = noise(0, 5, 7), tmp_path / "one.png"
    Image.fromarray(picture).save(path)
    for one in (picture, path, str(path)):
        assert np.array_equal(invert(one), 255 - picture)
    results = invert([path, noise(1)])
    assert np.array_equal(results[0], 255 - picture)
    assert np.array_equal(results[1], 255 - noise(1))
    batch = np.stack([noise(1), noise(2)])
    assert [np.array_equal(r, 255 - p) for r, p in zip(invert(batch), batch, strict=True)] == [
        True,
        True,
    ]


def test_bytes_open_files_and_pillows_pictures_are_as_good_as_paths(invert, noise, tmp_path):
    picture, path = noise(0, 5, 7), tmp_path / "one.png"
    Image.fromarray(picture).save(path)
    content = path.read_bytes()
    opened = Image.open(path)
    with path.open("rb") as file:
        given = [content, bytearray(content), memoryview(content), file, io.BytesIO(content)]
        given += [opened, Image.fromarray(picture)]
        for one in given:
            assert np.array_equal(invert(one), 255 - picture)
    for result in invert([content, opened, path, picture]):
        assert np.array_equal(result, 255 - picture)
    assert opened.size == (7, 5)


def test_a_pillow_picture_is_read_as_its_file_is(invert, tmp_path):
    """Upright, on white where it is transparent, 16 bits scaled."""
    ramp = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3) * 3
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    Image.fromarray(ramp).save(tmp_path / "turned.png", exif=turned)
    clear = Image.fromarray(ramp).convert("RGBA")
    clear.putalpha(Image.fromarray(ramp[..., 0]))
    clear.save(tmp_path / "clear.png")
    Image.fromarray(ramp[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(ramp).save(tmp_path / "key.png", transparency=tuple(ramp[0, 0].tolist()))
    for path in sorted(tmp_path.glob("*.png")):
        assert np.array_equal(invert(Image.open(path)), invert(path)), path.name


def test_torch_tensors_on_the_cpu_are_taken(invert, noise):
    torch = pytest.importorskip("torch")
    picture = noise(0, 5, 7)
    tensor = torch.from_numpy(picture)
    assert np.array_equal(invert(tensor), 255 - picture)
    assert np.array_equal(invert(torch.stack([tensor, tensor]))[1], 255 - picture)
    with pytest.raises(ValueError, match="channels come last"):
        invert(tensor.permute(2, 0, 1))
    with pytest.raises(ValueError, match=r"float32 \[5, 7, 3\]; values are 0 to 255"):
        invert(tensor / 255)


@pytest.mark.parametrize("given", [5, None, {"a": 1}, [1, 2], ["no.png", 3.5]])
def test_what_is_no_picture_is_told_what_is_taken(invert, given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (2, 2)).save("no.png")
    with pytest.raises(TypeError, match=r"expected a path, .* or pixels: uint8 \[H, W, 3\]"):
        invert(given)


def test_a_translator_can_be_sent_to_a_worker_that_has_no_such_file(noise, tmp_path):
    path = make_bundle(tmp_path / "sent.onnx")
    translator = Translator(path, "cpu", threads=1, together=2)
    sent = pickle.dumps(translator)
    path.unlink()
    script = (
        "import pickle, sys, numpy as np\n"
        "translator = pickle.load(sys.stdin.buffer)\n"
        "picture = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)\n"
        "assert np.array_equal(translator(picture), 255 - picture)\n"
        "print(translator.manifest.name, translator.provider, translator.threads)\n"
    )
    line = [sys.executable, "-c", script]
    done = subprocess.run(line, input=sent, capture_output=True, check=True)
    assert done.stdout.split() == [b"invert", b"cpu", b"1"]
    again = pickle.loads(pickle.dumps(pickle.loads(sent), protocol=2))
    assert again.sha256 == translator.sha256
    assert again.precision == translator.precision


def test_an_empty_picture_and_a_text_file_are_told(invert, tmp_path):
    for empty in (np.empty((0, 5, 3), np.uint8), Image.new("RGB", (0, 4))):
        with pytest.raises(ValueError, match="no pixels"):
            invert(empty)
    (tmp_path / "a.png").write_text("text")
    with (tmp_path / "a.png").open() as file, pytest.raises(TypeError, match="binary"):
        invert(file)


@pytest.mark.parametrize("kind", [np.float64, np.int64, bool, list])
def test_a_label_of_any_numbers_is_taken(attributes, noise, kind):
    label = [1.0, 0.0, 1.0] if kind is list else np.array([1, 0, 1]).astype(kind)
    assert np.array_equal(attributes(noise(), label), attributes(noise(), ["hat", "glasses"]))


@pytest.mark.parametrize(
    "label", [[1.0], np.ones((1, 3)), [1.0, np.nan, 0.0], [1.0, "hat", 0.0], 3, 1e40, [1j] * 3]
)
def test_a_wrong_label_is_told(attributes, noise, label):
    with pytest.raises(UsageError, match="label vectors of 3 finite numbers"):
        attributes(noise(), label)


def test_a_file_that_is_no_picture_is_a_data_error(invert, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=r"text\.png"):
        invert(tmp_path / "text.png")
    with pytest.raises(DataError, match=r"none\.png"):
        invert([tmp_path / "none.png"])


def test_several_threads_may_call_one_translator(classes, noise):
    """Each with a domain and a size of its own."""
    alone = {i: classes(noise(i, 8 + i, 9), to=DOMAINS[i % 3]) for i in range(9)}
    with ThreadPoolExecutor(6) as pool:
        for _ in range(5):
            found = pool.map(lambda i: (i, classes(noise(i, 8 + i, 9), to=DOMAINS[i % 3])), alone)
            assert all(np.array_equal(alone[i], result) for i, result in found)


def test_no_pictures_give_no_results(invert):
    assert invert([]) == []


def test_mixed_sizes_come_back_in_their_order(invert, noise):
    sizes = [(8, 8), (3, 5), (8, 8), (5, 3), (3, 5), (1, 1), (8, 8)]
    pictures = [noise(seed, *size) for seed, size in enumerate(sizes)]
    for picture, result in zip(pictures, invert(pictures), strict=True):
        assert np.array_equal(result, 255 - picture)


@pytest.mark.parametrize("count", [1, MAX_BATCH - 1, MAX_BATCH, MAX_BATCH + 1, 3 * MAX_BATCH + 2])
def test_a_batch_gives_what_one_by_one_gives(invert, noise, count):
    pictures = [noise(seed) for seed in range(count)]
    alone = [invert([picture])[0] for picture in pictures]
    for one, together in zip(alone, invert(pictures), strict=True):
        assert np.array_equal(one, together)


def test_at_most_so_many_pictures_run_at_once(invert, noise, monkeypatch):
    sizes = []
    run = invert._run
    monkeypatch.setattr(
        invert, "_run", lambda some, *rest: sizes.append(len(some)) or run(some, *rest)
    )
    invert([noise(seed) for seed in range(2 * MAX_BATCH + 1)])
    assert sum(sizes) == 2 * MAX_BATCH + 1
    assert max(sizes) == MAX_BATCH


def test_the_pictures_given_are_not_changed(invert, noise):
    picture = noise()
    before = picture.copy()
    invert([picture])
    assert np.array_equal(picture, before)


def test_views_and_tuples_are_taken_as_they_look(invert, noise):
    flipped = noise(0, 6, 9)[::-1, ::2]
    (result,) = invert((flipped,))
    assert np.array_equal(result, 255 - flipped)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.int64),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
    ],
    ids=lambda a: f"{a.dtype}{list(a.shape)}",
)
def test_arrays_of_another_kind_are_refused(invert, noise, wrong):
    with pytest.raises(ValueError, match=r"expected uint8 \[H, W, 3\]"):
        invert([noise(), wrong])


def test_one_channel_models_take_and_give_one(bundle, noise):
    grey = noise(0, 5, 6, 1)
    translator = Translator(bundle(channels=1), "cpu")
    assert np.array_equal(translator([grey])[0], 255 - grey)
    with pytest.raises(ValueError, match=r"\[H, W, 1\]"):
        translator([noise()])


@pytest.mark.parametrize(("to", "offset"), [("dawn", 10), ("noon", 20), ("dusk", 40)])
def test_the_domain_decides_the_result(classes, to, offset):
    dark = np.full((4, 5, 3), 7, np.uint8)
    assert (classes([dark, dark[:2], dark], to=to)[2] == 7 + offset).all()
    assert (classes([dark, dark[:2]], to=[to])[1] == 7 + offset).all()


@pytest.mark.parametrize("to", [None, "", "none", "night", "dawn,noon", ["dawn", "noon"], []])
def test_a_model_of_classes_takes_exactly_one_that_it_knows(classes, to):
    with pytest.raises(UsageError, match="one of: dawn, noon, dusk"):
        classes([np.zeros((4, 4, 3), np.uint8)], to=to)


@pytest.mark.parametrize(
    ("to", "offset"),
    [
        ("hat", 10),
        ("hat,glasses", 50),
        (["glasses", "hat"], 50),
        ("smile,hat,glasses", 70),
        ("none", 0),
        ([], 0),
    ],
)
def test_attributes_add_up_in_any_order(attributes, to, offset):
    (result,) = attributes([np.full((4, 4, 3), 5, np.uint8)], to=to)
    assert (result == 5 + offset).all()


@pytest.mark.parametrize("to", [None, "", "beard", "hat,beard", ["hat", "beard"], "hat,none"])
def test_attributes_must_be_known(attributes, to):
    with pytest.raises(UsageError, match=r"any of .*: hat, smile, glasses"):
        attributes([np.zeros((4, 4, 3), np.uint8)], to=to)


@pytest.mark.parametrize(
    ("to", "offset"), [("hat,smile", 30), ("dusk", 80), ("smile", 20), ([], 0)]
)
def test_a_model_of_several_data_sets_takes_the_domains_of_one(joint, to, offset):
    (result,) = joint([np.full((4, 4, 3), 5, np.uint8)], to=to)
    assert (result == 5 + offset).all()
    assert joint.domain("dusk").tolist() == [0, 0, 0, 1, 0, 1]


@pytest.mark.parametrize("to", [None, "hat,dusk", "dawn,dusk", "noon"])
def test_domains_of_several_data_sets_do_not_mix(joint, to):
    with pytest.raises(UsageError, match=r"any of .*: hat, smile or one of: dawn, dusk"):
        joint([np.zeros((4, 4, 3), np.uint8)], to=to)


def test_the_label_vector_follows_the_order_of_the_manifest(attributes):
    vector = attributes.domain("glasses,hat")
    assert vector.dtype == np.float32
    assert vector.tolist() == [1, 0, 1]


def test_a_model_without_domains_takes_none(invert):
    assert invert.domain(None) is None
    with pytest.raises(UsageError, match="no domains"):
        invert([np.zeros((4, 4, 3), np.uint8)], to="dusk")


def test_a_model_is_found_by_path_text_or_name(bundle, noise, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = bundle("weights/tiny-inverter.onnx")
    picture = noise()
    for model in (path, str(path), "tiny-inverter"):
        assert np.array_equal(Translator(model, "cpu")([picture])[0], 255 - picture)


def test_what_the_model_says_is_at_hand(invert, classes):
    assert invert.manifest.name == "invert"
    assert invert.provider == "cpu"
    assert classes.manifest.labels.names == ("dawn", "noon", "dusk")
    assert len(invert.sha256) == 64
    assert invert.sha256 != classes.sha256


def test_a_missing_model_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="There is no model"):
        Translator(tmp_path / "none.onnx")
