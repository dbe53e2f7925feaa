"""Several processes that train one run: same gradients, exact resume, nobody left waiting."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from gradients import (
    CASES,
    FROZEN,
    PARTLY_PAIRED,
    four_pictures,
    furthest,
    gradients,
    precision,
    start,
)
from PIL import Image
from states import assert_bitwise, state

from img2img.errors import UsageError
from img2img.training import checkpoint
from img2img.training.ranks import Ranks


@pytest.fixture(scope="module")
def differences():
    """Of each case, between two processes with two pictures each and one with four."""
    script = Path(__file__).parents[1] / "gradients.py"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    first, second = (
        subprocess.Popen(
            [sys.executable, script],
            env=os.environ | both | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    )
    found = json.loads(first.communicate()[0])
    assert first.returncode == second.wait() == 0
    return found


@pytest.mark.parametrize(
    ("number", "case"),
    enumerate([*CASES, *PARTLY_PAIRED, *FROZEN]),
    ids=lambda value: str(value),
)
def test_two_ranks_have_the_gradients_of_one_process_with_twice_the_batch(
    number, case, differences
):
    assert differences[number] < (1e-4 if case in FROZEN else 1e-10)


@pytest.mark.parametrize(
    ("mode", "settings"),
    # Spectral normalisation moves a little at every call, and parts are more calls.
    [case for case in (*CASES, *PARTLY_PAIRED) if "spectral" not in case[1]],
)
def test_a_batch_in_parts_has_the_gradients_of_the_whole(mode, settings):
    whole = gradients(mode, settings, Ranks())
    assert furthest(gradients(mode, settings | {"accumulate": 2}, Ranks()), whole) < 1e-10


@pytest.mark.parametrize(("mode", "settings"), FROZEN)
def test_a_batch_in_parts_has_the_gradients_of_the_whole_with_frozen_features(mode, settings):
    whole = gradients(mode, settings, Ranks())
    assert furthest(gradients(mode, settings | {"accumulate": 2}, Ranks()), whole) < 1e-4


BATCH_NORM = {"norm": "batch", "generator_lr": 1e-12, "discriminator_lr": 1e-12}


def batch_norms(trainer):
    return {
        name: layer
        for name, layer in trainer.method.named_modules()
        if isinstance(layer, torch.nn.BatchNorm2d)
    }


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("d_steps", [1, 2])
@pytest.mark.parametrize("objective", ["lsgan", "rpgan"])
@pytest.mark.parametrize("mode", ["pix2pix", "cyclegan"])
def test_averages_of_a_batch_in_equal_parts_are_those_of_the_whole(
    mode, objective, d_steps, recompute
):
    """Of parts with the same pictures the statistics are those of the whole batch."""
    settings = BATCH_NORM | {"d_steps": d_steps, "recompute": recompute, "dropout": False}
    settings |= {"objective": objective, "r1": 0.0, "r2": 0.0}
    batch, _ = four_pictures(mode)
    four = {name: torch.cat([value[:2], value[:2]]) for name, value in batch.items()}
    whole, parts = (start(mode, settings | {"accumulate": count}, Ranks()) for count in (1, 2))
    for _ in range(4):
        for trainer in (whole, parts):
            trainer.update(four)
        for name, layer in batch_norms(whole).items():
            found = batch_norms(parts)[name]
            assert found.num_batches_tracked == layer.num_batches_tracked > 0
            off = found.running_mean - layer.running_mean
            assert off.abs().max() <= 1e-9 * layer.running_mean.abs().max()


@pytest.mark.parametrize("accumulate", [2, 4])
@pytest.mark.parametrize("mode", ["pix2pix", "cyclegan"])
def test_averages_move_by_the_mean_of_the_parts(mode, accumulate):
    whole, parts = (
        start(mode, BATCH_NORM | {"accumulate": count}, Ranks()) for count in (1, accumulate)
    )
    for trainer in (whole, parts):
        trainer.update(*four_pictures(mode))
    counts = [
        [layer.num_batches_tracked.item() for layer in batch_norms(trainer).values()]
        for trainer in (whole, parts)
    ]
    assert counts[0] == counts[1]
    # The first norm of a generator sees nothing that was normalised before.
    first = next(name for name in batch_norms(whole) if name.startswith("generators.ab"))
    means = [batch_norms(trainer)[first].running_mean for trainer in (whole, parts)]
    if mode == "pix2pix":
        assert (means[0] - means[1]).abs().max() < 1e-12
    else:  # it translates fakes back, which parts make a little otherwise
        assert (means[0] - means[1]).abs().max() < 0.05 * means[0].abs().max()


@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        *CASES,
        ("pix2pix", {"norm": "batch", "dropout": True, "levels": 5}),
        ("cyclegan", {"unroll": 1}),
        *FROZEN,
    ],
)
def test_recomputed_activations_give_the_same_gradients_and_averages(mode, settings):
    plain, again = (start(mode, settings | {"recompute": on}, Ranks()) for on in (False, True))
    for trainer in (plain, again):
        for _ in range(2):
            trainer.update(*four_pictures(mode, precision(settings)))
    assert_bitwise(plain.state_dict(), again.state_dict())


@pytest.mark.parametrize(
    ("mode", "settings", "why"),
    [
        ("cyclegan", {"batch": 3}, "can't be divided between 2 processes. Use --batch 4"),
        ("stargan", {"batch": 2}, "domain of another one; set batch=2 or more, with 2 processes"),
        ("pix2pix", {"batch": 2, "minibatch": "std"}, "set batch=2 or more, with 2 processes"),
        ("cyclegan", {"accumulate": 4}, "2 pictures can't be split into 4"),
    ],
)
def test_a_batch_that_can_not_be_shared_is_refused(mode, settings, why):
    with pytest.raises(UsageError, match=re.escape(why)):
        start(mode, settings, Ranks(0, 2))


def two_ranks(*arguments: object) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    train = ["--nproc-per-node", "2", "-m", "img2img", "train"]
    return [*launcher, *train, *map(str, arguments)]


THREADS_AFTER = """
from pathlib import Path
from img2img.training.ranks import joined
with joined() as ranks:
    assert ranks.any(ranks.first, False) == (True, False)
    import torch._dynamo  # as fused optimizers do
threads = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
assert not [name for name in threads if "gloo" in name], threads
"""


@pytest.mark.skipif(sys.platform != "linux", reason="lists the threads of a process by /proc")
def test_no_thread_of_the_process_group_outlives_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(THREADS_AFTER)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    ended = subprocess.run([*launcher, "--nproc-per-node", "2", script], **QUIET)
    assert ended.returncode == 0, ended.stderr


def wait_for(path: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.exists()


@pytest.fixture
def start_options(emoji, tmp_path):
    small = ["--width", 4, "--d-width", 4, "--d-layers", 2, "--blocks", 1, "--pool", 4]
    often = ["--save-every", 5, "--log-every", 5, "--eval-every", 0, "--steps", 40]
    data = ["--mode", "cyclegan", "--a", emoji / "flat", "--b", emoji / "3d", "--size", 32]
    how = ["--batch", 4, "--precision", "fp32", "--device", "cpu", "--workers", 0]
    return [*data, *how, *small, *often, "--out", tmp_path]


QUIET = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_run_of_two_ranks_is_stopped_and_resumes_bitwise(start_options, tmp_path):
    whole = subprocess.run(two_ranks(*start_options, "--name", "whole"), **QUIET)
    assert whole.returncode == 0, whole.stderr
    assert whole.stderr.count("Done. Next: img2img export") == 1  # the first one talks alone
    process = subprocess.Popen(two_ranks(*start_options, "--name", "parts"), **QUIET)
    wait_for(tmp_path / "parts" / "checkpoints" / "last.pt", process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert "Stopped and saved at step" in said
    assert state(tmp_path / "parts")["step"] < 40
    alone = [sys.executable, "-m", "img2img", "train", "--resume", tmp_path / "parts"]
    refused = subprocess.run(alone, **QUIET)
    assert refused.returncode == 2
    assert "is trained by 2 process(es)" in refused.stderr
    again = two_ranks(*start_options, "--name", "parts", "--resume", "auto")
    subprocess.run(again, check=True, **QUIET)
    runs = [checkpoint.load(tmp_path / n / "checkpoints" / "last.pt") for n in ("whole", "parts")]
    assert len(runs[0]["pools"]) == 1
    for found in runs:
        del found["seconds"]
    assert_bitwise(*runs)
    rows = (tmp_path / "parts" / "metrics.csv").read_text().splitlines()
    written = [int(row.split(",")[0]) for row in rows[1:]]
    assert written == sorted(set(written))  # by the first one alone
    assert set(range(5, 41, 5)) <= set(written)
    first, second = runs[0]["trainer"]["pools"], runs[0]["pools"][0]
    assert not torch.equal(first["fake_a"][0], second["fake_a"][0])


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_run_of_two_ranks_goes_on_with_another_length_bitwise(start_options, tmp_path):
    subprocess.run(two_ranks(*start_options, "--name", "whole", "--steps", 10), check=True, **QUIET)
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    longer = ["--steps", 20, "--decay", 0.25, "--generator-lr", 1e-4]
    for name, limit in (("whole", []), ("parts", ["--max-time", "0s"]), ("parts", [])):
        command = two_ranks("--resume", tmp_path / name, *longer, *limit)
        subprocess.run(command, check=True, **QUIET)
    runs = [checkpoint.load(tmp_path / n / "checkpoints" / "last.pt") for n in ("whole", "parts")]
    for found in runs:
        assert found["trainer"]["step"] == 20
        del found["seconds"]
    assert_bitwise(*runs)
    configs = [json.loads((tmp_path / n / "config.json").read_text()) for n in ("whole", "parts")]
    assert configs[0]["history"] == configs[1]["history"]
    assert [past["until"] for past in configs[0]["history"]] == [10]


def test_a_look_that_fails_on_the_first_rank_ends_all(start_options, emoji, tmp_path):
    held_out = []
    for side, style in (("a", "flat"), ("b", "3d")):
        files = sorted((emoji / style).iterdir())[:12]
        (tmp_path / side).mkdir()
        for file in files:
            shutil.copy(file, tmp_path / side)
        held_out += [f"--test-{side}", tmp_path / side]
    # The third is in no sample grid, only in the look.
    third = sorted((tmp_path / "a").iterdir())[2]
    picture = Image.open(third)
    third.unlink()
    third = third.with_suffix(".png")
    picture.save(third)
    third.write_bytes(third.read_bytes()[:500])  # a header, and half of the pixels
    options = [*start_options, *held_out, "--no-check", "--eval-every", 5, "--name", "run"]
    done = subprocess.run(two_ranks(*options), timeout=120, **QUIET)
    assert done.returncode != 0
    assert re.search(rf"{third.name}.* Saved at step 5\. Continue with: torchrun", done.stderr)
    assert state(tmp_path / "run")["step"] == 5


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kills a process")
def test_where_one_rank_is_killed_all_end_and_say_so(start_options, tmp_path):
    options = [*start_options, "--steps", 4000, "--name", "run"]
    process = subprocess.Popen(two_ranks(*options), **QUIET)
    wait_for(tmp_path / "run" / "checkpoints" / "last.pt", process)
    found = [p for p in psutil.Process(process.pid).children() if "img2img" in p.cmdline()]
    ranks = {p.environ()["RANK"]: p for p in found}
    ranks["1"].kill()
    said = process.communicate(timeout=60)[1]
    assert process.returncode != 0
    assert re.search(
        r"Another process of this run is gone .*checkpoint was saved at step \d+\. Continue", said
    )
    assert not any(p.is_running() for p in found)
