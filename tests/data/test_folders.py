import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

from img2img.data.augment import Augment
from img2img.data.check import fingerprint, verify
from img2img.data.labelled import Labelled
from img2img.data.paired import Pairs, SideBySide
from img2img.data.sources import Sources
from img2img.data.unpaired import Unpaired
from img2img.errors import DataError, UsageError
from img2img.methods import METHODS
from img2img.sizes import Size

RGB = (3, 3)


def save(path, size=(40, 30), colour=(200, 30, 60)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def two(tmp_path):
    """a/ and b/ with three pairs of other suffixes and sub-folders, and one alone in each."""
    for name in ("a/1.png", "a/sub/2.jpg", "a/3.webp", "a/only.png"):
        save(tmp_path / name)
    for name in ("b/1.bmp", "b/sub/2.tiff", "b/3.png", "b/2.png"):
        save(tmp_path / name)
    return Sources(a=tmp_path / "a", b=tmp_path / "b")


def test_pairs_match_by_relative_path_without_suffix_and_tell_who_is_alone(two):
    dataset = Pairs.open(two, RGB)
    names = [(a.relative_to(two.a).as_posix(), b.name) for a, b in dataset.items]
    assert names == [("1.png", "1.bmp"), ("3.webp", "3.png"), ("sub/2.jpg", "2.tiff")]
    assert sorted(path.name for path in dataset.left_out) == ["2.png", "only.png"]


def test_pairs_without_a_single_match_are_refused(tmp_path):
    save(tmp_path / "a" / "x.png")
    save(tmp_path / "b" / "y.png")
    with pytest.raises(DataError, match="has a partner of the same name"):
        Pairs.open(Sources(a=tmp_path / "a", b=tmp_path / "b"), RGB)


def test_two_files_of_one_name_are_refused(two):
    save(two.a / "1.jpg")
    with pytest.raises(DataError, match="same name without suffix"):
        Pairs.open(two, RGB)


@pytest.mark.parametrize("swap", [False, True])
def test_side_by_side_files_are_cut_in_the_middle(tmp_path, swap):
    both = np.zeros((20, 40, 3), np.uint8)
    both[:, :20] = 255
    Image.fromarray(both).save(tmp_path / "pair.png")
    dataset = SideBySide.open(Sources(pairs=tmp_path, swap=swap), RGB)
    sample = dataset.sample(0, Augment(16, 16, None, False, True), np.random.default_rng(0))
    left, right = (sample["b"], sample["a"]) if swap else (sample["a"], sample["b"])
    assert (left == 255).all()
    assert (right == 0).all()


@pytest.mark.parametrize("swap", [False, True])
def test_halves_of_an_odd_width_are_of_one_size(tmp_path, swap):
    Image.new("RGB", (41, 20)).save(tmp_path / "pair.png")
    dataset = SideBySide.open(Sources(pairs=tmp_path, swap=swap), RGB)
    sample = dataset.sample(0, Augment(20, 0, None, False, True), np.random.default_rng(0))
    assert sample["a"].shape == sample["b"].shape == (20, 20, 3)


def test_grey_halves_are_grey_not_red(tmp_path):
    Image.new("RGB", (40, 20), (0, 200, 0)).save(tmp_path / "pair.png")
    dataset = SideBySide.open(Sources(pairs=tmp_path), (1, 3))
    sample = dataset.sample(0, Augment(16, 16, None, False, True), np.random.default_rng(0))
    assert sample["a"].shape == (16, 16, 1)
    assert sample["a"][0, 0, 0] == pytest.approx(117, abs=1)
    assert sample["b"][0, 0].tolist() == [0, 200, 0]


def test_pairs_of_other_sizes_are_cropped_at_one_place(tmp_path):
    ramp = np.tile(np.arange(40, dtype=np.uint8)[None, :, None] * 6, (40, 1, 3))
    for folder, size in (("a", 40), ("b", 80)):
        (tmp_path / folder).mkdir()
        Image.fromarray(ramp).resize((size, size)).save(tmp_path / folder / "x.png")
    dataset = Pairs.open(Sources(a=tmp_path / "a", b=tmp_path / "b"), RGB)
    sample = dataset.sample(0, Augment(20, 0, None, False, True), np.random.default_rng(3))
    assert np.abs(sample["a"].astype(int) - sample["b"]).mean() < 4


@pytest.mark.parametrize(
    ("method", "sources"),
    [
        ("pix2pix", {"a": "."}),
        ("pix2pix", {"data": "."}),
        ("pix2pix", {"a": ".", "b": ".", "data": "."}),
        ("cyclegan", {"pairs": "."}),
        ("cyclegan", {"a": "."}),
        ("cyclegan", {"a": ".", "b": ".", "swap": True}),
        ("stargan", {"a": ".", "b": "."}),
        ("stargan", {"data": ".", "attribute": ("Smiling",)}),
        ("stargan", {"data": ".", "attributes": "list.txt"}),
    ],
)
def test_sources_of_another_method_are_a_usage_error(method, sources):
    with pytest.raises(UsageError, match="needs"):
        METHODS[method].open_data(Sources(**sources), RGB)


@pytest.mark.parametrize(
    ("sources", "layout"), [({"a": "a", "b": "b"}, Pairs), ({"pairs": "a"}, SideBySide)]
)
def test_the_first_layout_that_accepts_the_sources_is_opened(two, sources, layout):
    folders = {name: two.a.parent / folder for name, folder in sources.items()}
    assert type(METHODS["pix2pix"].open_data(Sources(**folders), RGB)) is layout


@pytest.mark.parametrize("kind", [Pairs, Unpaired])
def test_a_missing_or_empty_folder_is_named(kind, tmp_path):
    save(tmp_path / "a" / "x.png")
    with pytest.raises(DataError, match=r"no folder .*nowhere"):
        kind.open(Sources(a=tmp_path / "a", b=tmp_path / "nowhere"), RGB)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty has no pictures"):
        kind.open(Sources(a=tmp_path / "a", b=tmp_path / "empty"), RGB)


def test_an_unpaired_epoch_is_as_long_as_the_larger_set(two):
    (two.b / "1.bmp").unlink()
    dataset = Unpaired.open(two, RGB)
    assert len(dataset) == max(len(dataset.a), len(dataset.b)) == 4


def test_unpaired_b_is_drawn_independently_of_a(emoji):
    dataset = Unpaired.open(Sources(a=emoji / "flat", b=emoji / "3d"), RGB)
    augment = Augment(16, 16, None, flip=False, training=True)
    samples = [dataset.sample(0, augment, np.random.default_rng(i))["b"] for i in range(8)]
    assert len({sample.tobytes() for sample in samples}) > 3


def test_unpaired_samples_that_are_held_out_show_each_picture_once(emoji):
    dataset = Unpaired.open(Sources(a=emoji / "flat", b=emoji / "3d"), RGB)
    augment = Augment(16, 16, None, flip=False, training=False)
    random = np.random.default_rng(0)
    samples = [dataset.sample(i, augment, random) for i in range(dataset.distinct)]
    for name in ("a", "b"):
        assert len({sample[name].tobytes() for sample in samples}) == dataset.distinct == 20


def labels_of(dataset: Labelled) -> list[list[float]]:
    """The label vectors of all samples."""
    augment = Augment(8, 8, None, False, False)
    random = np.random.default_rng(0)
    samples = (dataset.sample(index, augment, random) for index in range(len(dataset)))
    return [sample["domain"].tolist() for sample in samples]


def test_sub_folders_become_domains_in_order(emoji):
    dataset = Labelled.open(Sources(data=emoji), RGB)
    assert dataset.labels.names == ("3d", "flat")
    assert labels_of(dataset) == [[1, 0]] * 20 + [[0, 1]] * 20


def test_domains_have_one_name_in_either_unicode_form(tmp_path):
    names = {}
    for form in ("NFC", "NFD"):
        for domain in ("zebra", unicodedata.normalize(form, "âne")):
            save(tmp_path / form / domain / "x.png")
        names[form] = Labelled.open(Sources(data=tmp_path / form), RGB).labels.names
    assert names["NFC"] == names["NFD"] == ("zebra", unicodedata.normalize("NFC", "âne"))
    save(tmp_path / "NFC" / unicodedata.normalize("NFD", "âne") / "x.png")
    with pytest.raises(DataError, match="two sub-folders named"):
        Labelled.open(Sources(data=tmp_path / "NFC"), RGB)


def test_a_single_domain_is_refused(tmp_path):
    save(tmp_path / "only" / "x.png")
    with pytest.raises(DataError, match="at least two domains"):
        Labelled.open(Sources(data=tmp_path), RGB)


@pytest.fixture
def celeba(tmp_path):
    for name in ("000001.jpg", "000002.jpg"):
        save(tmp_path / "img" / name)
    (tmp_path / "list.txt").write_text(
        "3\nBlack_Hair Male Smiling\n000001.jpg -1  1 -1\n000002.jpg  1 -1  1\n000003.jpg 1 1 1\n"
    )
    return tmp_path


def test_celeba_list_gives_binary_vectors_of_the_chosen_attributes(celeba):
    sources = Sources(
        data=celeba / "img", attributes=celeba / "list.txt", attribute=("Smiling", "Black_Hair")
    )
    dataset = Labelled.open(sources, RGB)
    assert dataset.labels.sets[0].kind == "attributes"
    assert dataset.labels.names == ("Smiling", "Black_Hair")
    assert labels_of(dataset) == [[0, 0], [1, 1]]
    assert [path.name for path in dataset.left_out] == ["000003.jpg"]


def test_several_data_sets_share_one_label_vector_with_a_mask(celeba, emoji):
    sources = Sources(
        data=(celeba / "img", emoji),
        attributes=celeba / "list.txt",
        attribute=("Smiling", "Black_Hair"),
    )
    dataset = Labelled.open(sources, RGB)
    assert dataset.labels.names == ("Smiling", "Black_Hair", "3d", "flat")
    assert dataset.parts == (range(2), range(2, 42))
    vectors = labels_of(dataset)
    assert vectors[:2] == [[0, 0, 0, 0, 1, 0], [1, 1, 0, 0, 1, 0]]
    assert vectors[2:] == [[0, 0, 1, 0, 0, 1]] * 20 + [[0, 0, 0, 1, 0, 1]] * 20
    rest, held_out = dataset.split(6)
    assert (len(rest.parts), len(held_out.parts)) == (2, 2)


def test_a_domain_of_two_data_sets_is_refused(emoji):
    with pytest.raises(DataError, match="Two data sets have a domain 3d"):
        Labelled.open(Sources(data=(emoji, emoji)), RGB)


def test_the_fingerprint_sees_other_labels_of_the_same_files(celeba):
    sources = Sources(data=celeba / "img", attributes=celeba / "list.txt", attribute=("Smiling",))
    before = fingerprint(Labelled.open(sources, RGB))
    listed = (celeba / "list.txt").read_text()
    (celeba / "list.txt").write_text(listed.replace("000001.jpg -1  1 -1", "000001.jpg -1  1 1"))
    assert fingerprint(Labelled.open(sources, RGB)) != before


def test_an_unknown_attribute_is_named_with_those_there_are(celeba):
    sources = Sources(data=celeba / "img", attributes=celeba / "list.txt", attribute=("Hat",))
    with pytest.raises(DataError, match=r"no attribute Hat\. It has: Black_Hair, Male"):
        Labelled.open(sources, RGB)


def test_a_broken_line_of_the_list_is_named_by_number(celeba):
    (celeba / "list.txt").write_text("1\nMale Smiling\n000001.jpg 1\n")
    sources = Sources(data=celeba / "img", attributes=celeba / "list.txt", attribute=("Male",))
    with pytest.raises(DataError, match="line 3: 1 values, but 2 attributes"):
        Labelled.open(sources, RGB)


def test_split_keeps_every_picture_once_and_holds_out_some_of_each_domain(emoji):
    dataset = Labelled.open(Sources(data=emoji), RGB)
    rest, held_out = dataset.split(4)
    assert sorted(rest.items + held_out.items) == sorted(dataset.items)
    assert np.array(labels_of(held_out)).sum(0).tolist() == [2, 2]


def test_split_never_takes_more_than_a_tenth(emoji):
    dataset = Pairs.open(Sources(a=emoji / "flat", b=emoji / "3d"), RGB)
    rest, held_out = dataset.split(16)
    assert (len(rest), len(held_out)) == (18, 2)


def test_fingerprint_changes_with_names_and_sizes_not_with_the_place(emoji, tmp_path):
    moved = tmp_path / "elsewhere" / "flat"
    shutil.copytree(emoji / "flat", moved)
    first = Unpaired.open(Sources(a=emoji / "flat", b=emoji / "flat"), RGB)
    second = Unpaired.open(Sources(a=moved, b=moved), RGB)
    assert fingerprint(first) == fingerprint(second)
    next(moved.iterdir()).unlink()
    assert fingerprint(Unpaired.open(Sources(a=moved, b=moved), RGB)) != fingerprint(first)


def test_verify_names_unreadable_files(two, quiet):
    (two.a / "bad.png").write_bytes(b"no picture")
    truncated = (two.a / "1.png").read_bytes()
    (two.a / "1.png").write_bytes(truncated[: len(truncated) // 2])
    with pytest.raises(DataError, match=r"2 of 9 pictures can't be read: .*1\.png.*bad\.png"):
        verify(Unpaired.open(two, RGB), None, True, quiet)


def test_verify_names_the_smallest_picture_where_the_crop_does_not_fit(two, quiet):
    save(two.b / "small.png", (33, 20))
    dataset = Unpaired.open(two, RGB)
    verify(dataset, Size(20, 20), True, quiet)
    with pytest.raises(DataError, match=r"crop of 21 px is larger .*small\.png \(20 px\)"):
        verify(dataset, Size(21, 21), True, quiet)


def test_a_fingerprint_is_that_of_the_same_files_named_from_anywhere(emoji, monkeypatch):
    """A run goes on with absolute paths, whatever it was begun with."""
    monkeypatch.chdir(emoji / "flat")
    prints = {
        fingerprint(Unpaired.open(Sources(a=a, b=emoji / "3d"), (3, 3)))
        for a in (".", "../flat", emoji / "flat")
    }
    assert len(prints) == 1
