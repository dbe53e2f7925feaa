"""Two folders of which a part are pairs: which samples have a partner, and how it is cropped."""

import numpy as np
import pytest
import torch
from PIL import Image

from img2img.data.augment import Augment
from img2img.data.cache import Cache
from img2img.data.check import fingerprint
from img2img.data.paired import Pairs, PairsAndInputs
from img2img.data.sources import Sources
from img2img.data.stream import Stream
from img2img.data.unpaired import PartlyPaired, Unpaired
from img2img.errors import UsageError
from img2img.sizes import Size

RGB = (3, 3)


def folders(tmp_path, a, b, b_size=(56, 48)):
    """a/ and b/ with pictures of these names; all are noise, which partners have in common."""
    for side, names, size in (("a", a, (56, 48)), ("b", b, b_size)):
        (tmp_path / side).mkdir()
        for name in names:
            # Low frequencies, so that the noise is the same at another size.
            random = np.random.default_rng(int(name))
            small = Image.fromarray(random.integers(0, 256, (6, 7, 3), np.uint8))
            small.resize(size, Image.Resampling.NEAREST).save(tmp_path / side / f"{name}.png")
    return Sources(a=tmp_path / "a", b=tmp_path / "b")


def names(paths):
    return [int(path.stem) for path in paths]


def alike(first, second, tolerance=0) -> bool:
    return bool((np.abs(np.asarray(first, int) - np.asarray(second, int)) <= tolerance).all())


AUGMENT = Augment(32, 40, None, True, True)


def test_partners_come_first_in_both_sets(tmp_path):
    dataset = PartlyPaired.open(folders(tmp_path, range(6), range(3, 10)), RGB)
    assert dataset.pairs == 3
    assert names(dataset.a) == [3, 4, 5, 0, 1, 2]
    assert names(dataset.b) == [3, 4, 5, 6, 7, 8, 9]
    assert dataset.describe() == "6 pictures of a, 7 of b, 3 pairs among them"
    assert dataset.obstacle() is None


def test_a_partner_is_cropped_and_flipped_like_its_picture_and_others_are_not(tmp_path):
    dataset = PartlyPaired.open(folders(tmp_path, range(8), range(4, 12)), RGB)
    stream = Stream(dataset, AUGMENT, seed=0, batch=4)
    samples = [stream[position] for position in range(5 * len(dataset))]
    flags = [sample["paired"].item() for sample in samples]
    assert samples[0]["paired"].dtype == torch.float32
    assert samples[0]["paired"].shape == ()
    for sample, flag in zip(samples, flags, strict=True):
        assert alike(sample["a"], sample["b"]) == bool(flag)
    assert sum(flags) == 5 * 4
    shown = {s["a"].numpy().tobytes() for s, flag in zip(samples, flags, strict=True) if flag}
    assert len(shown) > 15  # of four pictures, in other crops


@pytest.mark.parametrize(("a", "b"), [(range(8), range(6, 10)), (range(4), range(9))])
def test_an_epoch_is_as_long_as_the_larger_set_and_every_picture_comes(tmp_path, a, b):
    dataset = PartlyPaired.open(folders(tmp_path, a, b), RGB)
    assert len(dataset) == max(len(a), len(b))
    shown = {"a": [], "b": []}
    plain = Augment(32, 32, None, False, True)
    stream = Stream(dataset, plain, seed=1, batch=1)
    for position in range(12 * len(dataset)):
        for side in "ab":
            shown[side].append(stream[position][side].numpy().tobytes())
    assert len(set(shown["a"])) == len(a)
    assert len(set(shown["b"])) == len(b)
    first = shown["a"][: len(dataset)]
    assert max(map(first.count, first)) - min(map(first.count, first)) <= 1


@pytest.mark.parametrize("settings", [{}, {"centre_crop": 44}, {"fit": "crop"}, {"load_size": 0}])
def test_a_partner_of_another_size_shows_the_same(tmp_path, settings):
    dataset = PartlyPaired.open(folders(tmp_path, range(3), range(1, 4), (112, 96)), RGB)
    given = {"size": 32, "load_size": 40, "centre_crop": None, **settings}
    stream = Stream(dataset, Augment(**given, flip=True, training=True), seed=0, batch=1)
    for position in range(9):
        sample = stream[position]
        off = np.abs(np.asarray(sample["a"], int) - np.asarray(sample["b"], int)).mean()
        assert (off < 20) == bool(sample["paired"])  # but for the edges of the noise


@pytest.mark.parametrize("b_size", [(32, 32), (112, 96)])
@pytest.mark.parametrize(
    ("fit", "cached"), [("squash", False), ("squash", True), ("crop", False), ("pad", True)]
)
def test_a_partner_of_another_size_has_the_same_margin(tmp_path, b_size, fit, cached):
    dataset = PartlyPaired.open(folders(tmp_path, range(3), range(1, 4), b_size), RGB)
    count, depth = dataset.records
    cache = (
        Cache(tmp_path / "cache", count, 62 * 60 * depth) if cached and fit == "squash" else None
    )
    augment = Augment(Size(54, 46), Size(62, 60), None, True, True, cache, fit, margin="auto")
    stream = Stream(dataset, augment, seed=0, batch=1)
    for position in range(9):
        sample = stream[position]
        off = np.abs(np.asarray(sample["a"], int) - np.asarray(sample["b"], int)).mean()
        assert (off < 20) == bool(sample["paired"])


def test_a_partner_at_the_size_of_the_crop_keeps_its_pixels_beside_a_smaller_picture(tmp_path):
    dataset = PartlyPaired.open(folders(tmp_path, range(2), range(2), (112, 96)), RGB)
    augment = Augment(Size(112, 96), Size(120, 104), None, False, True, margin="reflect")
    original = np.asarray(Image.open(tmp_path / "b" / "1.png"))
    assert (dataset._prepared("b", 1, augment)["b"][4:-4, 4:-4] == original).all()


def test_a_plain_picture_with_a_partner_that_is_not_has_its_margin(tmp_path):
    sources = folders(tmp_path, range(3), range(3))
    for path in (tmp_path / "a").iterdir():
        Image.open(path).crop((1, 1, 55, 47)).resize((54, 46)).save(path)
        framed = Image.new("RGB", (56, 48), "white")
        framed.paste(Image.open(path), (1, 1))
        framed.save(path)
    dataset = PartlyPaired.open(sources, RGB)
    size, load = Size(56, 48), Size(64, 56)
    auto, mirror = (
        Augment(size, load, None, False, True, margin=margin) for margin in ("auto", "reflect")
    )
    for name in "ab":
        expected = dataset._prepared(name, 1, mirror)
        assert list(expected) == [name]
        assert (dataset._prepared(name, 1, auto)[name] == expected[name]).all()
    alone = Unpaired.open(sources, RGB)
    assert (alone._prepared("a", 1, auto)["a"][:5] == 255).all()
    assert (alone._prepared("a", 1, mirror)["a"][:4] != 255).any()


def test_outside_training_the_pairs_come_first_and_no_picture_twice(tmp_path):
    dataset = PartlyPaired.open(folders(tmp_path, range(9), range(6, 13)), RGB)
    augment, random = Augment(32, 40, None, True, False), np.random.default_rng(0)
    samples = [dataset.sample(i, augment, random) for i in range(dataset.distinct)]
    assert [sample["paired"].item() for sample in samples] == [1, 1, 1, 0, 0, 0, 0]
    for side in "ab":
        assert len({sample[side].tobytes() for sample in samples}) == 7


def test_a_pair_is_held_out_together(tmp_path):
    dataset = PartlyPaired.open(folders(tmp_path, range(60), range(30, 95)), RGB)
    rest, out = dataset.split(5)
    assert (out.pairs, len(out.a), len(out.b)) == (3, 5, 5)
    for one in (rest, out):
        assert names(one.a[: one.pairs]) == names(one.b[: one.pairs])
        assert not set(names(one.a[one.pairs :])) & set(names(one.b))
    assert sorted(names(rest.a + out.a)) == list(range(60))
    assert sorted(names(rest.b + out.b)) == list(range(30, 95))


@pytest.mark.parametrize(
    ("a", "b", "held_out"),
    [
        (range(20), range(20), (2, 2, 2)),  # all are pairs
        (range(20), range(19, 39), (0, 1, 1)),  # the one pair is trained on
        (range(20), range(10, 20), (1, 1, 1)),  # b has no others
        (range(1), range(20), (0, 0, 0)),
    ],
)
def test_something_of_each_kind_is_left_to_train_on(tmp_path, a, b, held_out):
    rest, out = PartlyPaired.open(folders(tmp_path, a, b), RGB).split(16)
    assert (out.pairs, len(out.a), len(out.b)) == held_out
    assert rest.pairs
    assert len(rest.a) + len(out.a) == len(a)
    assert len(out) == max(len(out.a), len(out.b))


def test_without_pairs_it_can_not_be_trained_on(tmp_path):
    dataset = PartlyPaired.open(folders(tmp_path, range(3), range(3, 6)), RGB)
    obstacle = dataset.obstacle()
    assert isinstance(obstacle, UsageError)
    assert "--paired needs pairs, and no picture of a has a partner" in str(obstacle)
    sample = dataset.sample(1, AUGMENT, np.random.default_rng(0))  # held out they need none
    assert sample["paired"] == 0


def test_which_are_pairs_is_in_the_fingerprint(tmp_path):
    sources = folders(tmp_path, range(3), range(3))
    partly = PartlyPaired.open(sources, RGB)
    assert fingerprint(partly) != fingerprint(Unpaired.open(sources, RGB))


def test_inputs_without_a_partner_come_beside_the_pairs(tmp_path):
    sources = folders(tmp_path, range(9), range(5, 11))
    dataset, pairs = PairsAndInputs.open(sources, RGB), Pairs.open(sources, RGB)
    assert names(dataset.extra) == [0, 1, 2, 3, 4]
    assert sorted(names(dataset.left_out)) == [9, 10]
    assert len(dataset) == len(pairs) == 4
    assert dataset.describe() == "4 pairs and 5 inputs without a partner"
    [(why, files)] = dataset.gaps()
    assert why.startswith("pictures of b have no partner, without which the discriminator")
    assert sorted(names(files)) == [9, 10]
    plain, extra = (Stream(one, AUGMENT, seed=3, batch=2) for one in (pairs, dataset))
    for position in range(8):
        sample, same = extra[position], plain[position]
        assert set(sample) == {"a", "b", "extra"}
        assert all(torch.equal(sample[side], same[side]) for side in "ab")


def test_every_input_comes_at_random(tmp_path):
    dataset = PairsAndInputs.open(folders(tmp_path, range(9), range(6, 9)), RGB)
    stream = Stream(dataset, Augment(32, 32, None, False, True), seed=0, batch=2)
    shown = [stream[position]["extra"].numpy().tobytes() for position in range(60)]
    assert len(set(shown)) == 6
    assert all(torch.equal(stream[7][name], stream[7][name]) for name in ("a", "b", "extra"))


def test_only_pairs_are_held_out_beside_inputs(tmp_path):
    dataset = PairsAndInputs.open(folders(tmp_path, range(40), range(20, 40)), RGB)
    rest, out = dataset.split(16)
    assert (len(rest), len(rest.extra), len(out), out.extra) == (18, 20, 2, ())
    assert set(out.sample(0, AUGMENT, np.random.default_rng(0))) == {"a", "b"}
    assert out.describe() == "2 pairs"


def test_pairs_alone_have_no_use_for_unpaired(tmp_path):
    obstacle = PairsAndInputs.open(folders(tmp_path, range(2), range(4)), RGB).obstacle()
    assert isinstance(obstacle, UsageError)
    assert "--unpaired would change nothing" in str(obstacle)


def test_the_palette_is_that_of_all_inputs(tmp_path):
    sources = folders(tmp_path, [], [])
    for side, name, level in (("a", "x", 9), ("b", "x", 50), ("a", "y", 7), ("b", "z", 3)):
        Image.new("L", (8, 8), level).save(tmp_path / side / f"{name}.png")
    dataset = PairsAndInputs.open(sources, (1, 1))
    assert dataset.palette("a") == ((7,), (9,))
    assert dataset.palette("b") == ((50,),)
    augment = Augment(8, 6, None, False, False, labels=("a",))
    sample = dataset.sample(0, augment, np.random.default_rng(0))
    assert (sample["extra"] == 7).all()


@pytest.mark.parametrize("kind", [PartlyPaired, PairsAndInputs])
def test_a_cache_gives_the_same(tmp_path, kind):
    dataset = kind.open(folders(tmp_path, range(6), range(3, 9), (90, 96)), (3, 1))
    count, depth = dataset.records
    cache = Cache(tmp_path / "cache", count, 36 * 36 * depth)
    plain, keeping = (
        Stream(dataset, Augment(32, 36, 40, True, True, c), 0, 2) for c in (None, cache)
    )
    for position in [*range(18)] * 2:
        expected, cached = plain[position], keeping[position]
        assert all(torch.equal(expected[name], cached[name]) for name in expected)
