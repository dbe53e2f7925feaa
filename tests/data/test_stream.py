import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from img2img.data.augment import Augment
from img2img.data.dataset import Form
from img2img.data.labelled import Labelled
from img2img.data.paired import Pairs
from img2img.data.sources import Sources
from img2img.data.stream import AHEAD, Stream, messages, split, steps_in_message
from img2img.data.unpaired import Unpaired
from img2img.errors import DataError


@pytest.fixture
def stream(emoji):
    dataset = Unpaired.open(Sources(a=emoji / "flat", b=emoji / "3d"), (3, 3))
    return Stream(dataset, Augment(32, 40, None, True, True), seed=5, batch=4)


def equal(first, second) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_sample_is_a_function_of_seed_and_position(stream):
    again = Stream(stream.dataset, Augment(32, 40, None, True, True), seed=5, batch=4)
    other = Stream(stream.dataset, Augment(32, 40, None, True, True), seed=6, batch=4)
    later = [again[position] for position in (33, 7, 21)]  # in any order
    assert all(equal(stream[p], s) for p, s in zip((33, 7, 21), later, strict=True))
    assert not equal(stream[7], other[7])


def batches(stream, start, stop, workers):
    received = messages(stream, start, stop, workers, False)
    return [batch for message in received for batch in split(message, stream.share)]


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("start", [0, 19])
def test_batches_from_any_step_continue_those_from_the_start(stream, start, workers):
    rest = batches(stream, start, 40, workers)
    assert len(rest) == 40 - start
    for step, batch in enumerate(rest, start):
        samples = [stream[4 * step + place] for place in range(4)]
        assert all(equal(s, {n: batch[n][i] for n in batch}) for i, s in enumerate(samples))


def test_each_rank_makes_its_share_of_each_batch(stream):
    halves = [
        Stream(stream.dataset, stream.augment, seed=5, batch=4, rank=rank, ranks=2)
        for rank in range(2)
    ]
    shares = [batches(half, 7, 30, 1) for half in halves]
    for step, (first, second) in enumerate(zip(*shares, strict=True), 7):
        samples = [stream[4 * step + place] for place in range(4)]
        for name in "ab":
            both = torch.cat([first[name], second[name]])
            assert torch.equal(both, torch.stack([sample[name] for sample in samples]))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [1, 8, 32])
@pytest.mark.parametrize("size", [16, 256, 1024])
@pytest.mark.parametrize("batch", [1, 3, 16])
def test_the_size_of_what_waits_is_bounded(stream, size, batch, workers):
    large = Stream(stream.dataset, Augment(size, size, None, True, True), seed=5, batch=batch)
    assert large.step_bytes == 2 * 3 * size * size * batch  # a and b
    loader = messages(large, 0, 1000, workers, False)
    steps = loader.batch_size // batch
    waiting = workers * loader.prefetch_factor * steps * large.step_bytes
    assert waiting <= max(32 * 2**20, workers * AHEAD * large.step_bytes)
    assert steps == 1 or steps * large.step_bytes <= 4 * 2**20
    assert steps <= 16


def test_several_steps_of_small_batches_share_a_message():
    assert steps_in_message(2 * 3 * 256 * 256, workers=8) == 10
    assert steps_in_message(8 * 2 * 3 * 256 * 256, workers=8) == 1
    assert steps_in_message(2 * 3 * 256 * 256, workers=0) == 1  # training would wait for ten


def test_a_process_ends_even_with_workers_left_behind(emoji):
    """As where a traceback, which holds the loader, lives until the interpreter exits."""
    program = """
import sys
from pathlib import Path
from img2img.data.augment import Augment
from img2img.data.sources import Sources
from img2img.data.unpaired import Unpaired
from img2img.data.stream import Stream, messages
data = Unpaired.open(Sources(a=Path(sys.argv[1]) / "flat", b=Path(sys.argv[1]) / "3d"), (3, 3))
left_behind = iter(messages(Stream(data, Augment(32, 40, None, True, True), 0, 1), 0, 99, 2, False))
next(left_behind)
"""
    subprocess.run([sys.executable, "-c", program, emoji], check=True, timeout=60)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked")
def test_temporary_files_of_workers_are_where_the_caller_deletes_them(stream, tmp_path):
    short = tmp_path.parent / "s"  # however long the test's name is
    short.mkdir()
    received = iter(messages(stream, 0, 40, 1, False, short))
    next(received)  # sent by a socket, which has a name
    assert list(short.glob("pymp-*/listener-*"))
    del received
    too_long = tmp_path / ("x" * 100)
    too_long.mkdir()
    next(iter(messages(stream, 0, 40, 1, False, too_long)))
    assert not list(too_long.iterdir())


def test_an_epoch_shows_every_picture_once_in_an_order_of_its_own(emoji):
    dataset = Labelled.open(Sources(data=emoji), (3, 3))
    plain = Stream(dataset, Augment(16, 16, None, False, True), seed=1, batch=3)
    count = len(dataset)
    epochs = [
        [plain[epoch * count + i]["image"].numpy().tobytes() for i in range(count)]
        for epoch in (0, 1)
    ]
    assert len(set(epochs[0])) > 0.9 * count
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert epochs[0] != epochs[1]


def test_data_sets_give_their_batches_in_turn(emoji, tmp_path):
    for number, name in enumerate(("cat", "dog", "cow")):
        (tmp_path / name).mkdir()
        Image.new("RGB", (16, 16), (number, 0, 0)).save(tmp_path / name / "x.png")
    dataset = Labelled.open(Sources(data=(emoji, tmp_path)), (3, 3))
    stream = Stream(dataset, Augment(16, 16, None, False, True), seed=0, batch=3)
    masks = torch.stack([stream[position]["domain"][-2:] for position in range(12)])
    assert masks[:, 0].tolist() == [1, 1, 1, 0, 0, 0] * 2
    assert masks[:, 1].tolist() == [0, 0, 0, 1, 1, 1] * 2
    seen = [stream[position]["domain"][2:5].argmax().item() for position in (3, 4, 5)]
    assert sorted(seen) == [0, 1, 2]


def test_both_pictures_of_a_pair_are_cropped_and_flipped_alike(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (48, 56, 3), np.uint8)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.fromarray(noise).save(tmp_path / folder / "x.png")
    dataset = Pairs.open(Sources(a=tmp_path / "a", b=tmp_path / "b"), (3, 3))
    pairs = Stream(dataset, Augment(32, 40, None, True, True), seed=0, batch=2)
    samples = [pairs[position] for position in range(12)]
    assert all(torch.equal(s["a"], s["b"]) for s in samples)
    assert len({s["a"].numpy().tobytes() for s in samples}) > 6


def test_training_flips_about_half_of_the_pictures():
    ramp = np.tile(np.arange(32, dtype=np.uint8)[None, :, None], (32, 1, 3))
    augment, random = Augment(32, 32, None, True, True), np.random.default_rng(0)
    flipped = sum(augment(random, {"x": ramp})["x"][0, 0, 0] > 15 for _ in range(200))
    assert 70 < flipped < 130


def test_the_flip_and_the_crop_are_drawn_apart():
    rows, columns = np.mgrid[:40, :40].astype(np.uint8)
    picture = np.stack([rows, columns, rows], 2)
    augment, random = Augment(32, 40, None, True, True), np.random.default_rng(0)
    drawn = [augment(random, {"x": picture})["x"] for _ in range(300)]
    tops = {True: set(), False: set()}
    for shown in drawn:
        tops[bool(shown[0, 0, 1] > shown[0, -1, 1])].add(int(shown[0, 0, 0]))
    assert tops[True] == tops[False] == set(range(9))


def changed(augment, picture, seed=0):
    """The picture after both stages."""
    ready = augment.prepared(0, {"x": Form(picture.shape[2], "uint8")}, lambda: {"x": picture})
    return augment(np.random.default_rng(seed), ready)["x"]


def test_held_out_pictures_are_resized_whole_and_never_flipped():
    ramp = np.tile(np.arange(64, dtype=np.uint8)[None, :, None], (64, 1, 3))
    augment = Augment(32, 40, None, True, False)
    results = [changed(augment, ramp, seed) for seed in range(10)]
    assert all(np.array_equal(result, results[0]) for result in results)
    assert results[0].shape == (32, 32, 3)
    assert results[0][0, 0, 0] <= 1
    assert results[0][0, -1, 0] >= 62


def test_centre_crop_comes_before_the_resize():
    picture = np.zeros((60, 80, 3), np.uint8)
    picture[10:50, 20:60] = 255
    augment = Augment(20, 20, 40, False, True)
    assert (changed(augment, picture) == 255).all()


def test_one_channel_stays_one_channel():
    grey = np.full((30, 30, 1), 9, np.uint8)
    assert changed(Augment(16, 20, None, True, True), grey).shape == (16, 16, 1)


def test_a_picture_smaller_than_the_crop_is_a_data_error():
    with pytest.raises(DataError, match="10x10 px"):
        changed(Augment(16, 0, None, False, True), np.zeros((10, 10, 3), np.uint8))
