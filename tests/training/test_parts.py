"""Schedule, pool, average, checkpoint and config: the small parts of training."""

import builtins
import io
import json
import os
import pickle
import stat
from pathlib import Path

import pytest
import torch
from gradients import four_pictures, start
from torch import nn

from img2img.errors import DataError, DeviceError, UsageError
from img2img.methods import METHODS
from img2img.training import checkpoint, runtime
from img2img.training.config import RunConfig
from img2img.training.ema import Ema
from img2img.training.folder import model_card
from img2img.training.log import MetricsLog
from img2img.training.pool import ImagePool
from img2img.training.ranks import Ranks
from img2img.training.runtime import Runtime, seed_step
from img2img.training.schedule import Schedule, steps_per_epoch
from img2img.training.settings import differences

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


def test_linear_schedule_is_the_authors():
    golden = json.loads((GOLDEN / "linear_schedule.json").read_text())
    config = METHODS["cyclegan"].Config(epochs=golden["n_epochs"] + golden["n_epochs_decay"])
    schedule = Schedule.of(config, epoch_steps=7)
    for epoch, expected in enumerate(golden["lr_at_epoch_1_to_200"]):
        for step in (epoch * 7, epoch * 7 + 6):  # constant within an epoch of 7 steps
            assert 2e-4 * schedule.rate_factor(step) == pytest.approx(expected, rel=1e-12)


def test_a_run_in_steps_falls_to_zero_over_its_second_half():
    config = METHODS["stargan"].Config()
    factors = [Schedule.of(config, 1).rate_factor(step) for step in (0, 99_999, 150_000, 199_999)]
    assert factors == pytest.approx([1, 1, 0.5, 0], abs=1e-4)
    assert factors[-1] > 0


def test_length_of_a_run():
    config = METHODS["pix2pix"].Config(batch=4)
    assert steps_per_epoch(config, 10) == 3
    assert Schedule.of(config, 3).total == 600
    assert Schedule.of(METHODS["pix2pix"].Config(epochs=None, steps=50), 3).total == 50


CPU = torch.device("cpu")


def show(pool, fakes):
    return pool.show(fakes, pool.choose(len(fakes)))


def test_pool_fills_first_then_gives_back_half_old_ones():
    pool = ImagePool(5, CPU)
    seed_step(0, 0)
    for value in range(5):
        fake = torch.full((1, 1, 2, 2), float(value))
        assert torch.equal(show(pool, fake), fake)
    fresh = 0
    for value in range(5, 405):
        shown = show(pool, torch.full((1, 1, 2, 2), float(value)))
        fresh += shown[0, 0, 0, 0].item() == value
        assert shown.max() <= value
    assert len(pool.images()) == 5
    assert 150 < fresh < 250


@pytest.mark.parametrize("count", [1, 3, 7])
def test_the_pool_takes_the_pictures_of_a_batch_one_after_the_other(count):
    """As the authors' code does, which keeps a list; a batch may even be larger than the pool."""
    pool, kept = ImagePool(4, CPU), []
    for step in range(40):
        fakes = torch.arange(count).view(-1, 1, 1, 1).expand(-1, 1, 2, 2) + 100.0 * step
        seed_step(0, step)
        shown = show(pool, fakes)
        seed_step(0, step)
        expected = []
        for fake in fakes:
            if len(kept) < 4:
                kept.append(fake)
            elif torch.rand(()) < 0.5:
                index = int(torch.randint(4, ()))
                fake, kept[index] = kept[index], fake
            expected.append(fake)
        assert torch.equal(shown, torch.stack(expected))
        assert torch.equal(pool.images(), torch.stack(kept))


def test_a_pool_that_is_loaded_goes_on_like_the_one_that_was_saved():
    pool, again = ImagePool(3, CPU), ImagePool(3, CPU)
    assert len(again.images()) == 0
    again.load_images(pool.images())
    for step in range(9):
        fakes = torch.rand(2, 3, 4, 4)
        seed_step(0, step)
        expected = show(pool, fakes)
        seed_step(0, step)
        assert torch.equal(show(again, fakes), expected)
        again = ImagePool(3, CPU)
        again.load_images(pool.images())


def test_average_follows_its_formula_and_copies_buffers():
    weights = nn.BatchNorm2d(2)
    average = Ema(weights, 0.9)
    with torch.no_grad():
        weights.weight.fill_(3.0)
        weights.running_mean.fill_(7.0)
    average.update(weights, updates=1000)  # the warm-up is over
    assert average.average.weight.tolist() == pytest.approx([0.9 * 1 + 0.1 * 3] * 2)
    assert average.average.running_mean.tolist() == [7, 7]
    early = Ema(nn.Linear(1, 1, bias=False), 0.999)
    start, target = early.average.weight.item(), nn.Linear(1, 1, bias=False)
    early.update(target, updates=0)
    expected = 0.1 * start + 0.9 * target.weight.item()
    assert early.average.weight.item() == pytest.approx(expected, rel=1e-5)


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def test_loading_a_checkpoint_executes_nothing(tmp_path):
    path = tmp_path / "last.pt"
    torch.save({"trainer": Evil()}, path)
    with pytest.raises(DataError, match=r"last\.pt contains more than tensors \(exec\)"):
        checkpoint.load(path)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match="can't be loaded"):
        checkpoint.load(path)


@pytest.mark.parametrize("content", [b"", b"hello world\n", b"PK\x03\x04 half a zip"])
def test_a_damaged_checkpoint_or_weights_file_is_a_data_error(tmp_path, content):
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    with pytest.raises(DataError, match="can't be loaded"):
        checkpoint.load(path)
    with pytest.raises(DataError, match="can't be loaded"):
        checkpoint.load_weights(path)


def test_a_failed_save_keeps_the_checkpoint_that_was_there(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"step": 1})

    def half(state, file):
        Path(file).write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos\nmore")

    monkeypatch.setattr(torch, "save", half)  # as torch does on a full disk
    with pytest.raises(checkpoint.NotWritten, match=r"last.pt can't be written.*unexpected pos"):
        checkpoint.save(path, {"step": 2})
    assert checkpoint.load(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_files_of_a_run_have_the_modes_that_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        checkpoint.save(tmp_path / "last.pt", {"step": 1})
        checkpoint.save_weights(tmp_path / "weights.safetensors", nn.Linear(2, 2), {"step": "1"})
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"last.pt": 0o640, "weights.safetensors": 0o640}


def test_weights_are_read_as_they_were_written(tmp_path):
    layer, path = nn.Linear(2, 2), tmp_path / "weights.safetensors"
    checkpoint.save_weights(path, layer, {"step": "1"})
    tensors, told = checkpoint.load_weights(path)
    assert told == {"step": "1"}
    assert torch.equal(tensors["weight"], layer.weight)
    assert torch.equal(tensors["bias"], layer.bias)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("config.json", lambda run: RunConfig.load(run)),
        ("weights.safetensors", lambda run: checkpoint.load_weights(run / "weights.safetensors")),
        ("weights.safetensors", lambda run: checkpoint.begin_with(nn.Linear(1, 1), run)),
        ("last.pt", lambda run: checkpoint.load(run / "last.pt")),
    ],
)
def test_a_file_that_may_not_be_read_is_said_to_be_so(name, read, tmp_path, monkeypatch):
    (tmp_path / name).touch()
    original = io.open

    def refuse(path, *arguments, **options):  # root may read everything: chmod would not do
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *arguments, **options)

    monkeypatch.setattr(io, "open", refuse)  # which Path.open calls
    monkeypatch.setattr(builtins, "open", refuse)
    with pytest.raises(DataError, match=rf"{name} can't be \w+ \(Permission denied\)"):
        read(tmp_path)


def test_the_card_quotes_names_with_spaces():
    card = model_card(build(name="my run"), 1, 1, "2 pairs", {})
    assert "img2img export 'runs/my run'" in card
    assert "img2img translate PHOTOS -o OUT -m 'my run'" in card


def test_other_folders_are_another_run():
    given = {"a": "/a", "b": "/b"}
    config = build(sources=given)
    assert differences(config, build(sources=given)) == {}
    assert differences(config, build(sources={**given, "a": "/c"}))["a"][1] == "/c"
    assert "swap" in differences(config, build(sources={**given, "swap": True}))
    assert "test_a" in differences(config, build(sources=given, test=given))


@pytest.mark.parametrize(
    ("mode", "values", "said"),
    [
        ("stargan", {"sources": {"data": ["/d"], "swap": True}}, "stargan has no --direction"),
        ("pix2pix", {"method": {"pool": 50}}, "--pool would change nothing"),
        ("pix2pix", {"eval_every": 0, "eval_pictures": 20}, "--eval-pictures would change nothing"),
        ("pix2pix", {"eval_every": 0, "extractor": "inception"}, "--extractor would change"),
        (
            "pix2pix",
            {"held_out": 8, "test": {"a": "/a", "b": "/b"}},
            "--held-out would change nothing: there are held-out folders",
        ),
    ],
)
def test_what_would_change_nothing_is_refused_in_new_runs_alone(mode, values, said, tmp_path):
    with pytest.raises(UsageError, match=said):
        build(mode=mode, **values)
    old = {"name": "x", "mode": mode, "sources": {}, **values}
    (tmp_path / "config.json").write_text(json.dumps(old))
    assert RunConfig.load(tmp_path).mode == mode


@pytest.mark.parametrize(
    ("mode", "preset"), [(mode, preset) for mode in METHODS for preset in METHODS[mode].presets]
)
@pytest.mark.parametrize("objective", ["bce", "wgan", "wgan-gp", "rpgan", "mmd"])
def test_what_a_preset_or_a_saved_config_sets_beside_another_objective_is_no_mistake(
    mode, preset, objective
):
    norm = {"norm": "instance"} if mode == "pix2pix" else {}
    given = {"objective": objective, **norm}
    config = build(mode=mode, preset=preset, method=given)
    assert RunConfig.build(config.model_dump(mode="json")) == config
    assert differences(RunConfig.build(config.model_dump(mode="json")), config) == {}


@pytest.mark.parametrize("betas", [[0.5, 1], [-0.1, 0.9]])
def test_betas_that_adam_does_not_take_are_a_usage_error(betas):
    with pytest.raises(UsageError, match="betas"):
        build(method={"betas": betas})


def test_rows_of_a_run_that_was_killed_before_its_first_checkpoint_go(tmp_path):
    first = MetricsLog(tmp_path, 0)
    first.add({"step": 50, "d/real": 1.0})
    first.add({"step": 100, "d/real": 2.0})
    again = MetricsLog(tmp_path, 0)
    again.add({"step": 50, "d/real": 3.0})
    assert again.history(1000)["d/real"] == [3.0]


def test_every_part_of_every_process_draws_for_itself():
    seeds = set()
    for own in range(3):
        for part in ((), (1,), (2,)):
            seed_step(7, 5, own, *part)
            seeds.add(torch.initial_seed())
    assert len(seeds) == 9
    seed_step(7, 5)
    assert torch.initial_seed() in seeds  # one process alone draws as it always did


def test_a_row_that_was_half_written_is_none(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,g/l1\r\n1000,0.5\r\n2000,0.25\r\n30")
    log = MetricsLog(tmp_path, 2000)
    assert log.history(3000) == {"step": [1000, 2000], "g/l1": [0.5, 0.25]}


def build(**values):
    return RunConfig.build({"name": "x", "mode": "pix2pix", "sources": {}, **values})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mode": "pix3pix"}, "no mode 'pix3pix'; there are pix2pix, cyclegan, stargan"),
        ({"method": {"size": 100}}, "size 100 must be a multiple of"),
        (
            {"method": {"size": 64, "resize": 32}},
            "crop of 64 px is larger than the resized pictures .32 px",
        ),
        ({"method": {"steps": 5}}, "epochs or steps"),
        ({"method": {"objective": "magic"}}, "objective"),
        ({"method": {"l1": -1}}, "l1"),
        ({"methods": {}}, "methods"),
        ({"mode": "stargan", "method": {"size": 96}}, "size 96 must be a multiple of 64"),
        ({"mode": "stargan", "method": {"batch": 1}}, "batch"),
        ({"mode": "cyclegan", "method": {"in_channels": 1}}, "identity=0"),
    ],
)
def test_a_wrong_setting_is_named_in_one_sentence(values, said):
    with pytest.raises(UsageError, match=said) as caught:
        build(**values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wanted", ["auto", "cuda", "cuda:0"])
def test_a_gpu_is_chosen_by_its_number(wanted, monkeypatch):
    """torch takes no "cuda" without one where it is to become the current device."""
    chosen, empty = [], torch.empty
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch, "empty", lambda *shape, device: empty(*shape))
    monkeypatch.setattr(torch._C, "_cuda_setDevice", chosen.append, raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    assert runtime._device(wanted, Ranks()) == torch.device("cuda:0")
    assert chosen == [0]


def test_a_device_that_is_not_there_is_a_device_error():
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(DeviceError, match=missing):
        Runtime(missing)


def test_placed_pictures_are_floats_between_minus_one_and_one():
    batch = {"a": torch.tensor([[[[0, 127, 255]]]], dtype=torch.uint8), "domain": torch.ones(1, 2)}
    placed = Runtime("cpu", "fp32").place(batch)
    assert placed["a"].shape == (1, 3, 1, 1)
    assert placed["a"].flatten().tolist() == pytest.approx([-1, -1 / 255, 1])
    assert torch.equal(placed["domain"], batch["domain"])


@pytest.mark.parametrize(
    ("settings", "judges"),
    [({}, True), ({"feature_matching": 1.0}, False), ({"r1": 1.0}, False), ({"unroll": 1}, False)],
)
def test_only_what_compiled_code_can_do_is_compiled(settings, judges):
    trainer = start("cyclegan", settings, Ranks())
    trainer.compile()
    method = trainer.method
    assert all(g._compiled_call_impl for g in method.generators.values())
    assert all(bool(d._compiled_call_impl) == judges for d in method.discriminators.values())


@pytest.mark.slow
@pytest.mark.parametrize("mode", METHODS)
def test_compiled_networks_train_the_same(mode):
    plain, compiled = start(mode, {}, Ranks()), start(mode, {}, Ranks())
    compiled.compile()
    for _ in range(2):
        expected, found = (t.update(*four_pictures(mode)) for t in (plain, compiled))
        for name, term in expected.items():
            assert float(found[name]) == pytest.approx(float(term), rel=1e-9)
