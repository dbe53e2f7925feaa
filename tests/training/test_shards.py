"""Training on shards: the same weights as on the folder with the same files."""

import json
from pathlib import Path

import pytest
import torch
from command_line import run as img2img
from states import assert_bitwise, state
from stores import bucket, gate  # noqa: F401
from tars import write_shards, write_tar

from img2img.data.augment import Augment
from img2img.data.paired import Pairs
from img2img.data.sources import Sources
from img2img.data.stream import Stream
from img2img.data.unpaired import PartlyPaired, Unpaired
from img2img.errors import DataError, Interrupted
from img2img.shards import tar_of
from img2img.training import loop
from img2img.training.config import RunConfig
from img2img.training.loop import train
from img2img.training.plan import make_plan
from img2img.training.resume import resumed


@pytest.fixture(scope="module")
def sharded(emoji, tmp_path_factory) -> dict[str, Path]:
    """The emoji in shards: three of a, and two of b."""
    folder = tmp_path_factory.mktemp("shards")
    return {
        "a": write_shards(emoji / "flat", folder, 3),
        "b": write_shards(emoji / "3d", folder, 2),
    }


@pytest.mark.parametrize(("mode", "workers"), [("pix2pix", 1), ("cyclegan", 0), ("cut", 0)])
def test_weights_are_those_of_the_folder_bit_for_bit(
    mode, workers, make_config, sharded, quiet, tmp_path
):
    for name, run in (("folder", {}), ("shards", {"sources": sharded})):
        config = make_config(mode, {**run, "workers": workers})
        train(make_plan(config, quiet), tmp_path / name, quiet)
    assert state(tmp_path / "folder")["step"] == 6
    assert_bitwise(state(tmp_path / "folder"), state(tmp_path / "shards"))


@pytest.mark.parametrize("group", [None, "^(.{4})"])
def test_the_same_pictures_are_held_out(make_config, sharded, quiet, group):
    plans = [
        make_plan(make_config("pix2pix", {**run, "group": group}), quiet)
        for run in ({}, {"sources": sharded})
    ]
    folder, shards = ([path.name for path in plan.held_out.files()] for plan in plans)
    assert folder == shards
    assert 0 < len(folder) < len(list(plans[0].training.files()))


def test_a_run_on_shards_resumes_exactly(make_config, sharded, quiet, tmp_path, monkeypatch):
    config = make_config("pix2pix", {"sources": sharded, "workers": 1})
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(make_plan(config, quiet), whole, quiet)
    original = loop.Loop.step

    def stopping(self, batch):
        original(self, batch)
        if self.trainer.step == 3:
            raise Interrupted("")

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "step", stopping)
        with pytest.raises(Interrupted):
            train(make_plan(config, quiet), parts, quiet)
    plan = make_plan(resumed(parts, RunConfig.load(parts), {}), quiet)
    train(plan, parts, quiet)
    assert_bitwise(state(whole), state(parts))


def test_other_shards_are_no_exact_continuation(make_config, sharded, emoji, quiet, tmp_path):
    source = write_shards(emoji / "flat", tmp_path / "set", 2)
    config = make_config("pix2pix", {"sources": {**sharded, "a": source}})
    complete = make_plan(config, quiet).config
    assert complete.sources.a == source
    write_tar(tmp_path / "set" / "flat-0.tar", {"1f30e.png": b"0"})
    with pytest.raises(DataError):
        make_plan(complete, quiet, decode=False)


def test_a_broken_member_is_told_by_its_path(make_config, sharded, tmp_path, quiet):
    source = write_tar(tmp_path / "x.tar", {"a.png": b"\x89PNG\r\n\x1a\n", "b.png": b"no"})
    config = make_config("cyclegan", {"sources": {"a": source, "b": sharded["b"]}})
    with pytest.raises(DataError, match=r"2 of .* pictures can't be read: .*x\.tar/a\.png"):
        make_plan(config, quiet)


@pytest.mark.parametrize("layout", [Unpaired, Pairs])
def test_each_of_two_ranks_reads_shards_of_its_own(sharded, layout):
    dataset = layout.open(Sources(**sharded), (3, 3))
    augment = Augment(32, 40, None, True, True)
    ranks = [Stream(dataset, augment, 5, 4, rank, 2) for rank in range(2)]
    of_a = [[path for role, path in rank.dataset.roles() if role == "a"] for rank in ranks]
    assert sorted(of_a[0] + of_a[1]) == sorted(dataset.inputs("ab"))
    assert not {tar_of(path) for path in of_a[0]} & {tar_of(path) for path in of_a[1]}
    assert not torch.equal(*(rank[0]["a"] for rank in ranks))


def test_a_rank_passes_over_its_samples_once_an_epoch(sharded):
    dataset = Pairs.open(Sources(**sharded), (3, 3))
    stream = Stream(dataset, Augment(32, 40, None, False, True), 5, 4, 1, 2)
    asked: list[int] = []
    stream.dataset = _Counted(stream.dataset, asked)
    count = len(stream.dataset.parts[0])
    for position in range(2 * count):
        stream[position]
    assert sorted(asked[:count]) == sorted(asked[count:]) == list(range(count))
    assert asked[:count] != asked[count:]


class _Counted:
    def __init__(self, dataset, asked):
        self.parts, self.asked = dataset.parts, asked

    def sample(self, index, augment, random):
        self.asked.append(index)
        return {}

    def finished(self, sample):
        return sample


def test_all_ranks_read_all_where_shards_are_fewer_or_pairs_are_a_part(sharded):
    few = Unpaired.open(Sources(**sharded), (3, 3))
    assert few.of_rank(0, 4) is few
    partly = PartlyPaired.open(Sources(**sharded), (3, 3))
    assert partly.of_rank(0, 2) is partly


def test_check_finds_in_shards_what_it_finds_in_the_folders(sharded, emoji):
    found = [
        json.loads(img2img("check", "--a", a, "--b", b, "--json").stdout)
        for a, b in ((emoji / "flat", emoji / "3d"), (sharded["a"], sharded["b"]))
    ]
    assert found[0].keys() == found[1].keys()
    assert found[0]["roles"] == found[1]["roles"]
    assert found[0].get("mode") == found[1].get("mode")
    assert [f["what"] for f in found[0]["findings"]] == [f["what"] for f in found[1]["findings"]]


def test_the_command_trains_on_shards_of_a_store(bucket, sharded, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    for source in sharded.values():
        for tar in source.parent.glob(source.name.partition("-")[0] + "-*.tar"):
            bucket.put(f"set/{tar.name}", tar.read_bytes())
    a, b = (f"{bucket.url}/set/{source.name}" for source in sharded.values())
    line = ["train", "--mode", "pix2pix", "--a", a, "--b", b, "--device", "cpu", "--name", "tiny"]
    small = "--size 32 --resize 36 --width 4 --d-width 4 --d-layers 2 --batch 2 --steps 2"
    done = img2img(*line, *small.split(), "--workers", "0", "--eval-every", "0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("copying 3 shards") == done.stderr.count("copying 2 shards") == 1
    saved = RunConfig.load(tmp_path / "runs" / "tiny").sources
    assert saved.a.as_posix() == a.replace("//", "/")
    again = img2img("train", "--resume", "runs/tiny", "--steps", "4", cwd=tmp_path)
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    "line",
    [
        ["train", "--mode", "stargan", "--data", "SHARD", "--steps", "2"],
        ["check", "SHARD", "--mode", "stargan"],
        ["evaluate", "--fake", "SHARD", "--real", "SHARD"],
    ],
    ids=lambda line: line[0],
)
def test_other_sources_and_commands_refuse_shards_in_a_sentence(line, sharded):
    shard = str(next(sharded["a"].parent.glob("flat-0.tar")))
    done = img2img(*(word.replace("SHARD", shard) for word in line))
    assert done.returncode in (2, 3)
    assert "Shards (.tar) are for" in done.stderr
