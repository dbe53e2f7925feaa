"""Whether decoded pictures are kept, and what reaches the trainer."""

import errno
import io
import os
from collections import namedtuple
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from states import assert_bitwise, state

from img2img.data.stream import Stream
from img2img.errors import DataError
from img2img.training import feed
from img2img.training.config import RunConfig
from img2img.training.feed import Feed, is_cached
from img2img.training.loop import train
from img2img.training.plan import make_plan
from img2img.training.ranks import Ranks
from img2img.training.runtime import Runtime

SIZE = 36 * 36 * 36 * 3  # bytes of the cache of the tiny runs: 18 pictures of each style
USAGE = namedtuple("USAGE", "free")


@pytest.fixture
def room(monkeypatch):
    """A function that sets the available memory and the free disk space, bytes."""

    def be(available: int, free: int) -> None:
        monkeypatch.setattr(feed.memory, "available", lambda: available)
        monkeypatch.setattr(feed.shutil, "disk_usage", lambda path: USAGE(free))

    be(2**40, 2**40)
    return be


@pytest.fixture
def plan(make_config, quiet):
    """Of a run of two passes over its pictures, which leaves the decision to img2img."""
    plan = make_plan(make_config("cyclegan", batch=1, steps=36), quiet)
    assert plan.schedule.epoch_steps == 18
    return plan


def with_cache(plan, setting):
    return replace(plan, config=plan.config.model_copy(update={"cache": setting}))


def test_pictures_that_are_needed_again_are_kept(plan, room, tmp_path):
    kept, reason = is_cached(plan, tmp_path, 36, Ranks())
    assert kept
    assert reason == (
        "Decoded pictures are kept in a cache of 1 MiB for 2.0 passes over them (--no-cache: "
        "decode them every time)."
    )


def test_pictures_of_a_single_pass_are_not_kept(plan, room, tmp_path):
    assert is_cached(plan, tmp_path, 19, Ranks())[0]
    kept, reason = is_cached(plan, tmp_path, 18, Ranks())  # as when a run is nearly done
    assert not kept
    assert "in 1.0 passes over them, a process needs hardly any of them twice" in reason


def test_a_cache_takes_half_of_the_memory_and_a_quarter_of_the_disk_at_most(plan, room, tmp_path):
    room(2 * SIZE, 4 * SIZE)
    assert is_cached(plan, tmp_path, 36, Ranks())[0]
    room(2 * SIZE - 2, 4 * SIZE)
    kept, reason = is_cached(plan, tmp_path, 36, Ranks())
    assert not kept
    assert "more than half of the available memory" in reason
    room(2 * SIZE, 4 * SIZE - 4)
    kept, reason = is_cached(plan, tmp_path, 36, Ranks())
    assert not kept
    assert f"more than a quarter of the free space in {tmp_path}" in reason


def test_each_process_has_a_cache_and_makes_its_share_of_a_pass(plan, room, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    ranks = Ranks(0, 4)  # two machines
    assert not is_cached(plan, tmp_path, 72, ranks)[0]
    room(4 * SIZE, 16 * SIZE)
    assert is_cached(plan, tmp_path, 73, ranks)[0]
    room(4 * SIZE - 2, 16 * SIZE)
    assert not is_cached(plan, tmp_path, 73, ranks)[0]
    room(4 * SIZE, 16 * SIZE - 4)
    assert not is_cached(plan, tmp_path, 73, ranks)[0]


def test_a_setting_decides_whatever_the_room(plan, room, tmp_path):
    room(0, 0)
    kept, reason = is_cached(with_cache(plan, True), tmp_path, 1, Ranks())
    assert kept
    assert reason.endswith("(--cache).")
    room(2**40, 2**40)
    assert is_cached(with_cache(plan, False), tmp_path, 36, Ranks()) == (False, "")


@pytest.mark.parametrize(("setting", "value"), [("resize", 0), ("fit", "crop")])
def test_pictures_of_many_sizes_are_not_kept(setting, value, room, make_config, quiet, tmp_path):
    plan = make_plan(make_config("cyclegan", steps=36, **{setting: value}), quiet)
    kept, reason = is_cached(plan, tmp_path, 36, Ranks())
    assert not kept
    assert reason.startswith("Decoded pictures are not kept: a cache needs pictures of one size")


def test_config_json_has_the_setting_and_not_the_decision(make_config, quiet, tmp_path):
    for name, cache in (("default", None), ("on", True), ("off", False)):  # old runs have on or off
        config = make_config("pix2pix", run={"cache": cache}, steps=20)
        shown = io.StringIO()
        console = Console(file=shown, width=200)
        train(make_plan(config, console), tmp_path / name, console)
        assert shown.getvalue().count("ecoded pictures are kept") == (cache is not False)
        assert RunConfig.load(tmp_path / name).cache is cache
        assert not list((tmp_path / name).glob(".img2img-*"))
    assert_bitwise(state(tmp_path / "default"), state(tmp_path / "off"))


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no space is reserved there")
def test_a_quota_that_nobody_saw_costs_the_cache_and_not_the_run(
    plan, quiet, tmp_path, monkeypatch
):
    def refused(*_):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "posix_fallocate", refused)
    shown = io.StringIO()
    console = Console(file=shown, width=200)
    given = Feed(plan, tmp_path, Runtime("cpu"), Ranks(), console)
    assert len(list(given.batches(0))) == 36
    assert shown.getvalue().startswith("Decoded pictures are not kept. The cache of pictures needs")
    required = Feed(with_cache(plan, True), tmp_path, Runtime("cpu"), Ranks(), quiet)
    with pytest.raises(DataError, match="Free some space, or use --no-cache"):
        next(required.batches(0))


@pytest.mark.parametrize("mode", ["cyclegan", "stargan"])
@pytest.mark.parametrize("workers", [0, 1])
def test_each_step_has_memory_of_its_own(mode, workers, make_config, quiet, tmp_path):
    """Not a view of a message: how matrix products are rounded may depend on the alignment."""
    config = make_config(mode, run={"workers": workers}, steps=20, size=40, resize=40)
    plan = make_plan(config, quiet)
    runtime = Runtime("cpu")
    given = list(Feed(plan, tmp_path, runtime, Ranks(), quiet).batches(3))
    assert len(given) == 17
    assert len({t.untyped_storage().data_ptr() for batch in given for t in batch.values()}) == (
        17 * len(given[0])
    )
    batch = config.method.batch
    stream = Stream(plan.training, plan.augment(training=True), config.seed, batch)
    for step, placed in enumerate(given, 3):
        samples = [stream[step * batch + place] for place in range(batch)]
        expected = runtime.place({n: torch.stack([s[n] for s in samples]) for n in samples[0]})
        assert placed.keys() == expected.keys()
        for name, tensor in placed.items():
            assert tensor.storage_offset() == 0
            assert torch.equal(tensor, expected[name])
