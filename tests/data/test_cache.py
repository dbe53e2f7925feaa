"""A cache gives what decoding gave, to every process, and needs its room at once."""

import pickle
import subprocess
import sys

import pytest

from img2img import images
from img2img.data.augment import Augment
from img2img.data.cache import Cache
from img2img.data.labelled import Labelled
from img2img.data.paired import Pairs
from img2img.data.sources import Sources
from img2img.data.stream import Stream
from img2img.data.unpaired import Unpaired
from img2img.errors import DataError, UsageError


def test_what_one_process_puts_in_another_gets(tmp_path):
    cache = Cache(tmp_path / "cache", 3, 6)
    assert cache.get(1, 5) is None
    sent = pickle.dumps(cache)  # as a data worker gets it that is not a fork
    assert len(sent) < 1000
    code = "import pickle, sys; pickle.load(sys.stdin.buffer).put(1, bytearray([0, 1, 2, 3, 4]))"
    subprocess.run([sys.executable, "-c", code], input=sent, check=True)
    assert cache.get(1, 5).tolist() == [0, 1, 2, 3, 4]
    assert cache.get(2, 5) is None
    cache.close()
    assert not list(tmp_path.iterdir())


def test_no_room_is_told_before_training(tmp_path):
    with pytest.raises(DataError, match=r"cache of pictures needs .* GiB in .* are free"):
        Cache(tmp_path / "cache", 2**20, 2**34)
    assert not list(tmp_path.iterdir())


def sources(kind, emoji):
    return Sources(data=emoji) if kind is Labelled else Sources(a=emoji / "flat", b=emoji / "3d")


@pytest.mark.parametrize("kind", [Pairs, Unpaired, Labelled])
@pytest.mark.parametrize("channels", [(3, 3), (3, 1)])
def test_the_second_pass_is_the_same_without_reading_a_file(
    kind, channels, emoji, tmp_path, monkeypatch
):
    dataset = kind.open(sources(kind, emoji), channels)
    count, depth = dataset.records
    length = 36 * 36 * depth
    cache = Cache(tmp_path / "cache", count, length)
    plain, keeping = (
        Stream(dataset, Augment(32, 36, 60, True, True, c), 0, 4) for c in (None, cache)
    )
    expected = [plain[i] for i in range(24)]
    for number in range(2):
        if number == 1:
            monkeypatch.setattr(images, "read", None)
        for sample, index in zip(expected, range(24), strict=True):
            found = keeping[index]
            assert found.keys() == sample.keys()
            assert all((found[name] == sample[name]).all() for name in sample)


def test_pictures_of_many_sizes_can_not_be_kept(make_config):
    with pytest.raises(UsageError, match="resize=0 keeps their sizes"):
        make_config("cyclegan", run={"cache": True}, resize=0)
