"""What every method has to keep; a new one in METHODS is tested without a line here."""

import copy
from typing import get_args

import pytest
import torch

from img2img.data.augment import Augment
from img2img.data.stream import Stream
from img2img.errors import UsageError
from img2img.manifest import Labels, LabelSet
from img2img.methods import METHODS
from img2img.methods.base import Method
from img2img.methods.objectives import OBJECTIVES, gradient_penalty, zero_centered_penalty
from img2img.nets import DISCRIMINATORS, GENERATORS
from img2img.nets.minibatch import Comparison
from img2img.training.config import RunConfig
from img2img.training.plan import make_plan
from img2img.training.runtime import Runtime, seed_step
from img2img.training.trainer import Trainer


@pytest.fixture
def start(make_config, quiet):
    """A function (mode, settings) -> (trainer, a function step -> batch)."""

    def begin(mode, **settings):
        plan = make_plan(make_config(mode, **settings), quiet)
        c, runtime = plan.config.method, Runtime("cpu", "fp32")
        seed_step(0, 0)
        trainer = Trainer(METHODS[mode](c), runtime, 0, plan.schedule)
        stream = Stream(plan.training, Augment(c.size, c.load_size, None, True, True), 0, c.batch)

        def batch(step):
            samples = [stream[step * c.batch + i] for i in range(c.batch)]
            return runtime.place({k: torch.stack([s[k] for s in samples]) for k in samples[0]})

        return trainer, batch

    return begin


@pytest.fixture(params=METHODS)
def case(request, start):
    """The same of each method with the paper's settings."""
    return start(request.param, ema=0.9)


def stable(mode: str) -> dict[str, str]:
    """What pix2pix needs under a penalty; the others have it."""
    return {"norm": "instance"} if mode == "pix2pix" else {}


def snapshot(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_terms_are_finite_scalars_with_names_of_their_side(case):
    trainer, batch = case
    seen = set()
    for step in range(2 * trainer.method.config.d_steps):
        terms = trainer.update(batch(step))
        assert all(term.ndim == 0 and term.isfinite() for term in terms.values())
        assert all(name.split("/")[0] in "dg" for name in terms)
        seen |= {name.split("/")[0] for name in terms}
    assert seen == {"d", "g"}


def test_each_side_moves_only_in_its_own_turn(case):
    trainer, batch = case
    method = trainer.method
    sides = {"generators": method.generators, "discriminators": method.discriminators}
    for step in range(method.config.d_steps):
        due, before = method.sides(step), {side: snapshot(part) for side, part in sides.items()}
        trainer.update(batch(step))
        for side, part in sides.items():
            moved = any(
                not torch.equal(before[side][name], tensor)
                for name, tensor in part.state_dict().items()
            )
            assert moved == (side in due)


def test_discriminators_get_no_gradient_in_the_generators_turn(case):
    trainer, batch = case
    method = trainer.method
    placed = batch(0)
    draws = method.draws(placed, torch.tensor(0.0), 1.0)
    scene = method.scene(placed, draws)
    method.discriminators.requires_grad_(False)
    torch.stack(list(method.g_terms(placed, scene, draws).values())).sum().backward()
    assert all(p.grad is None for p in method.discriminators.parameters())
    assert all(p.grad is not None for p in method.generators.parameters())


def test_a_step_is_a_function_of_state_seed_and_step(case):
    trainer, batch = case
    for step in range(2):
        trainer.update(batch(step))
    state = copy.deepcopy(trainer.state_dict())
    first = {k: v.item() for k, v in trainer.update(batch(2)).items()}
    torch.manual_seed(999)  # whatever happened in between
    trainer.load_state_dict(state)
    again = {k: v.item() for k, v in trainer.update(batch(2)).items()}
    assert first == again


def test_training_moves_the_generator_towards_its_task(case):
    trainer, batch = case
    data = batch(0)
    every = trainer.method.config.d_steps
    trainer.rate = lambda side: 2e-3  # enough to see within a few steps

    def pull():
        for _ in range(every):
            terms = trainer.update(data)
        task = [name for name in terms if name.startswith("g/") and "adversarial" not in name]
        return sum(terms[name].item() for name in task)

    first = pull()
    for _ in range(25):
        last = pull()
    assert last < 0.8 * first


def test_grid_gives_pictures_of_the_batch(case):
    trainer, batch = case
    data = batch(0)
    with torch.no_grad():
        columns = trainer.method.grid(data)
    size = trainer.method.config.size
    for column in columns.values():
        assert column.side in ("a", "b")
        assert column.images.shape[-2:] == size.shape
        assert column.images.abs().max() <= 1


def test_config_round_trips_through_json(case, make_config):
    method = case[0].method
    config = make_config(method.name).model_copy(update={"method": method.config})
    again = RunConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert type(again.method) is type(method.config)


def test_exports_name_generators_of_the_method(case):
    method: Method = case[0].method
    generators = list(method.generators.values())
    assert all(spec.module in generators for spec in method.exports().values())


ALLOWED = [
    (mode, name)
    for mode in METHODS
    for name, objective in OBJECTIVES.items()
    if mode != "stargan" or not objective.energy  # whose discriminator names domains
]


@pytest.mark.parametrize(("mode", "objective"), ALLOWED)
def test_every_objective_trains_every_method(mode, objective, start):
    trainer, batch = start(mode, objective=objective, **stable(mode))
    method, terms = trainer.method, {}
    before = [snapshot(part) for part in (method.generators, method.discriminators)]
    for step in range(method.turn):
        terms |= trainer.update(batch(step))
    assert all(term.isfinite() for term in terms.values())
    for was, part in zip(before, (method.generators, method.discriminators), strict=True):
        assert any(not torch.equal(was[name], x) for name, x in part.state_dict().items())
    found = OBJECTIVES[objective]
    names = {name.split("/")[1].removesuffix("_a").removesuffix("_b") for name in terms}
    assert bool({"relative", "discrepancy"} & names) == found.compares
    assert ("gradient_penalty" in names) == bool(found.interpolates)
    assert ({"r1", "r2"} <= names) == bool(found.zero_centered)
    if found.clips:
        largest = max(p.abs().max().item() for p in method.discriminators.parameters())
        assert largest <= method.config.weight_bound


SMALL = {"width": 4, "blocks": 1, "layers": 2, "scales": 2}
TOGETHER = [
    (mode, generator, discriminator)
    for mode, method in METHODS.items()
    for generator, made in GENERATORS.items()
    for discriminator, judge in DISCRIMINATORS.items()
    if made.conditional == method.Config.conditional
    and judge().classifies != ("never" if method.Config.conditional else "always")
    and (made.encodes or not method.Config.contrastive)
]


@pytest.mark.parametrize(("mode", "generator", "discriminator"), TOGETHER)
def test_every_network_trains_with_every_method_that_takes_it(
    mode, generator, discriminator, start
):
    rows = {"generator": GENERATORS[generator], "discriminator": DISCRIMINATORS[discriminator]}
    networks = {
        kind: {"name": row.name, **{k: v for k, v in SMALL.items() if k in row.model_fields}}
        for kind, row in rows.items()
    }
    energy = {"objective": "ebgan"} if rows["discriminator"].energy else {}
    trainer, batch = start(mode, **networks, **energy)
    method = trainer.method
    parts = [*method.generators.values(), *method.discriminators.values()]
    before, terms = [snapshot(part) for part in parts], {}
    for step in range(method.turn):
        terms |= trainer.update(batch(step))
    assert all(term.isfinite() for term in terms.values())
    for was, part in zip(before, parts, strict=True):
        moved = [not torch.equal(was[name], p) for name, p in part.named_parameters()]
        assert sum(moved) > len(moved) / 2


@pytest.mark.parametrize("objective", ["wgan-gp", "rpgan", "mmd"])
@pytest.mark.parametrize("mode", METHODS)
def test_penalised_objectives_train_in_bf16(mode, objective, make_config, start):
    plain, batch = start(mode, objective=objective, **stable(mode))
    trainer = Trainer(plain.method, Runtime("cpu", "bf16"), 0, plain.schedule)
    terms = {}
    for step in range(trainer.method.turn):
        terms |= trainer.update(batch(step))
    assert all(term.isfinite() for term in terms.values())


PENALISED = [  # settings, and the weights that the formula then has
    ({"objective": "wgan-gp"}, {"gradient_penalty": 10.0}),
    ({"objective": "wgan-gp", "gradient_penalty": 3.0}, {"gradient_penalty": 3.0}),
    ({"objective": "wgan-gp", "r1": 2.0}, {"gradient_penalty": 10.0, "r1": 2.0}),
    ({"objective": "rpgan"}, {"r1": 1.0, "r2": 1.0}),
    ({"objective": "mmd"}, {"gradient_penalty": 1.0}),
    ({"objective": "bce", "r1": 0.5, "r2": 4.0}, {"r1": 0.5, "r2": 4.0}),
]


@pytest.mark.parametrize(("settings", "weights"), PENALISED)
@pytest.mark.parametrize("mode", METHODS)
def test_penalties_keep_the_formulas_proportion(mode, settings, weights, start):
    """All but StarGAN halve what the formula gives; all of it, so 10 is 10 to the rest."""
    trainer, batch = start(mode, **settings, **stable(mode))
    method = trainer.method.double()
    placed = {k: v.double() if v.is_floating_point() else v for k, v in batch(0).items()}
    draws = method.draws(placed, torch.tensor(0.0), 1.0)
    scene = {name: image.detach() for name, image in method.scene(placed, draws).items()}
    terms = method.d_terms(placed, scene, draws)
    judge = next(iter(method.discriminators.values()))  # CycleGAN's of a
    if mode == "pix2pix":
        real, fake, suffix, factor = placed["b"], scene["fake_b"], "", 0.5

        def critic(image):
            return judge(torch.cat([placed["a"], image], 1))
    elif mode == "cyclegan":
        real, fake, suffix, factor, critic = placed["a"], scene["fake_a"], "_a", 0.5, judge
    elif mode == "cut":
        real, fake, suffix, factor, critic = placed["b"], scene["fake_b"], "", 0.5, judge
    else:
        real, fake, suffix, factor = placed["image"], scene["fake"], "", 1.0

        def critic(image):
            return judge(image)[0]

    objective = OBJECTIVES[settings["objective"]]
    expected = objective.d_terms(critic(real), critic(fake))
    for name, weight in weights.items():
        if name == "gradient_penalty":
            witness = objective.witness(critic, real, fake)
            penalty = gradient_penalty(witness, real, fake, draws.mix)
        else:
            penalty = zero_centered_penalty(critic, real if name == "r1" else fake)
        expected[name] = weight * penalty
    for name, term in expected.items():
        assert terms[name + suffix].item() == pytest.approx(factor * term.item(), rel=1e-6)
    judged = [name for name in terms if name.endswith(suffix) and name != "classification"]
    assert len(judged) == len(expected)


@pytest.mark.parametrize("mode", METHODS)
def test_lazy_penalties_come_seldom_and_as_much_heavier(mode, start):
    def first_terms(**settings):
        trainer, batch = start(mode, objective="bce", r1=0.5, **stable(mode), **settings)
        seen = []
        for step in range(4):
            terms = trainer.update(batch(step))
            seen.append(sum(term.item() for name, term in terms.items() if "/r1" in name))
        return seen

    always, lazy = first_terms(), first_terms(penalty_every=3)
    assert all(value > 0 for value in always)
    assert lazy[0] == pytest.approx(3 * always[0], rel=1e-5)
    assert lazy[1] == lazy[2] == 0
    assert lazy[3] > 0


@pytest.mark.parametrize("mode", METHODS)
def test_spectral_normalisation_bounds_every_convolution_and_resumes(mode, start):
    trainer, batch = start(mode, spectral=True, objective="hinge")
    for step in range(6):
        trainer.update(batch(step))
    layers = [m for m in trainer.method.discriminators.modules() if isinstance(m, torch.nn.Conv2d)]
    largest = [torch.linalg.matrix_norm(m.weight.flatten(1), 2).item() for m in layers]
    assert max(largest) == pytest.approx(1, abs=0.25)  # by power iteration, a step a time
    state = copy.deepcopy(trainer.state_dict())
    first = {k: v.item() for k, v in trainer.update(batch(6)).items()}
    trainer.load_state_dict(state)
    assert {k: v.item() for k, v in trainer.update(batch(6)).items()} == first


@pytest.mark.parametrize("mode", METHODS)
def test_discriminators_see_disturbed_pictures_in_training_only(mode, start):
    changes = {"augment": ("colour", "translation", "cutout"), "noise": 0.3}
    plain, disturbed = (start(mode, objective="bce", **stable(mode), **s) for s in ({}, changes))
    (trainer, batch), (other, _) = plain, disturbed
    other.load_state_dict(trainer.state_dict())
    first, second = trainer.update(batch(0)), other.update(batch(0))
    judged = [name for name in first if name.startswith(("d/real", "d/fake"))]
    assert all(first[name] != second[name] for name in judged)
    other.load_state_dict(copy.deepcopy(trainer.state_dict()))
    for way, same in zip(
        *(m.method.ways(batch(1)).values() for m in (trainer, other)), strict=True
    ):
        assert torch.equal(way.critic(way.real), same.critic(same.real))


def test_every_data_set_gets_its_share_of_lazy_penalties(make_config):
    labels = Labels(sets=(LabelSet(kind="classes", domains=("x", "y")),) * 2)
    config = make_config("stargan", r1=1.0, penalty_every=16).method.model_copy(
        update={"labels": labels}
    )
    method = METHODS["stargan"](config)
    scales = [method.penalty_scale(step) for step in range(320)]
    assert sum(scales[0::2]) == sum(scales[1::2]) == 160


def test_changes_are_given_as_a_list_or_as_words(make_config):
    assert make_config("stargan", augment="colour, cutout").method.augment == ("colour", "cutout")
    assert make_config("stargan", augment=["cutout"]).method.augment == ("cutout",)


def test_a_critics_weights_are_clipped_to_what_is_given(start):
    trainer, batch = start("cyclegan", objective="wgan", clip=0.003)
    trainer.update(batch(0))
    weights = [p.abs().max().item() for p in trainer.method.discriminators.parameters()]
    assert max(weights) == pytest.approx(0.003)


@pytest.mark.parametrize("mode", METHODS)
def test_noise_falls_to_nothing_by_the_end(mode, start):
    trainer, batch = start(mode, noise=0.3)
    data = batch(0)
    image = next(iter(data.values()))

    def seen(progress):
        draws = trainer.method.draws(data, torch.tensor(progress), 1.0)
        return trainer.method.seen(image, draws)

    first, late = seen(0.0), seen(0.9)
    assert (first - image).std() == pytest.approx(0.3, rel=0.1)
    assert (late - image).std() == pytest.approx(0.03, rel=0.1)
    assert torch.equal(seen(1.0), image)


@pytest.mark.parametrize("mode", METHODS)
def test_weights_are_drawn_to_the_mean_of_their_past(mode, start):
    trainer, batch = start(mode, historical=0.5, d_steps=1)
    judge = trainer.method.discriminators
    seen = []
    for step in range(4):
        now = [p.detach().clone() for p in judge.parameters()]
        mean = [torch.stack(past).mean(0) for past in zip(*(seen or [now]), strict=True)]
        off = sum((p - m).square().sum().item() for p, m in zip(now, mean, strict=True))
        terms = trainer.update(batch(step))
        assert terms["d/historical"].item() == pytest.approx(0.5 * off, rel=1e-3, abs=1e-9)
        seen.append(now)
    assert off > 0
    assert terms["g/historical"] > 0
    state = copy.deepcopy(trainer.state_dict())
    first = {k: v.item() for k, v in trainer.update(batch(4)).items()}
    trainer.load_state_dict(state)
    assert {k: v.item() for k, v in trainer.update(batch(4)).items()} == first


@pytest.mark.parametrize("mode", METHODS)
def test_features_of_fakes_are_drawn_to_those_of_real_pictures(mode, start):
    """Of equal pictures nothing is left to match; the weight is the setting's."""
    settings = {"feature_matching": 3.0, "objective": "bce", **stable(mode)}
    trainer, batch = start(mode, **settings)
    method, terms = trainer.method, {}
    for step in range(method.turn):
        terms |= trainer.update(batch(step))
    names = [name for name in terms if "/feature_matching" in name]
    assert len(names) == len(method.discriminators)
    assert all(terms[name] > 0 for name in names)
    judge, image = next(iter(method.discriminators.values())), torch.rand(2, 3, 32, 32)
    image = torch.cat([image, image], 1) if mode == "pix2pix" else image
    other = torch.rand_like(image)

    def critic(x):
        out = judge(x)
        return out[0] if isinstance(out, tuple) else out

    def match(fake, real, paired):
        return method.matching_terms(judge, critic, fake, real, paired)["feature_matching"].item()

    for paired in (True, False):
        assert match(image, image, paired) == 0
        assert match(other, image, paired) > 0
    assert match(image.flip(0), image, False) == pytest.approx(0, abs=1e-6)  # the same set
    assert match(image.flip(0), image, True) > 1e-3


UNPAIRED = ("self_regularization", "color", "edges")  # compare outputs with inputs


@pytest.mark.parametrize("name", ["tv", "ssim", *UNPAIRED])
@pytest.mark.parametrize("mode", METHODS)
def test_losses_on_pictures_are_weighted_and_reach_the_generators(mode, name, start):
    if mode == "pix2pix" and name in UNPAIRED:
        with pytest.raises(UsageError, match="compares outputs with their targets"):
            start(mode, **{name: 1.0})
        return
    values = []
    for weight in (0.0, 1.0, 3.0):
        trainer, batch = start(mode, **{name: weight}, **stable(mode))
        placed = batch(0)
        seed_step(0, 0)
        draws = trainer.method.draws(placed, torch.tensor(0.0), 1.0)
        terms = trainer.method.g_terms(placed, trainer.method.scene(placed, draws), draws)
        named = [term for key, term in terms.items() if key in (name, f"{name}_a", f"{name}_b")]
        assert len(named) == (len(trainer.method.generators) if weight else 0)
        values.append(torch.stack(named).sum() if named else None)
    assert values[0] is None
    assert values[2].item() == pytest.approx(3 * values[1].item(), rel=1e-4)
    values[2].backward()
    for generator in trainer.method.generators.values():
        slopes = [p.grad for p in generator.parameters() if p.grad is not None]
        assert all(slope.isfinite().all() for slope in slopes)
        assert any((slope != 0).any() for slope in slopes)


def test_fastcut_has_no_reconstruction_to_compare(make_config):
    for name in ("ssim", "perceptual"):
        with pytest.raises(UsageError, match="only with nce_identity"):
            make_config("cut", nce_identity=False, **{name: 1.0})


@pytest.mark.parametrize("mode", METHODS)
@pytest.mark.parametrize("objective", ["lsgan", "wgan"])
def test_generators_look_ahead_and_discriminators_stay(mode, objective, start):
    settings = {"objective": objective, "d_steps": 1}
    plain, ahead = (start(mode, unroll=k, **settings)[0] for k in (0, 3))
    trainer, batch = start(mode, unroll=3, **settings)
    trainer.update(batch(0))  # so that Adam has a pace
    state = copy.deepcopy(trainer.state_dict())
    for other in (plain, ahead):
        other.load_state_dict(copy.deepcopy(state))
    first, second = plain.update(batch(1)), ahead.update(batch(1))
    adversarial = [name for name in first if name.startswith("g/adversarial")]
    assert all(first[name] != second[name] for name in adversarial)
    was, stayed = (dict(other.method.discriminators.named_parameters()) for other in (plain, ahead))
    assert all(torch.equal(was[name], stayed[name]) for name in was)
    again = trainer.update(batch(1))
    assert {k: v.item() for k, v in again.items()} == {k: v.item() for k, v in second.items()}


@pytest.mark.parametrize("comparison", get_args(Comparison))
@pytest.mark.parametrize("mode", METHODS)
def test_discriminators_can_see_how_much_a_batch_differs(mode, comparison, start):
    trainer, batch = start(mode, minibatch=comparison, **stable(mode))
    for step in range(trainer.method.turn):
        terms = trainer.update(batch(step))
    assert all(term.isfinite() for term in terms.values())
    way = next(iter(trainer.method.ways(batch(0)).values()))
    several = way.critic(way.real)
    alike = way.critic(way.real[:1].expand_as(way.real))
    assert several.shape == alike.shape
    assert not torch.allclose(several[0], alike[0])  # the same picture in other company


@pytest.mark.parametrize(
    ("mode", "settings", "said"),
    [
        ("pix2pix", {"minibatch": "std", "batch": 1}, "set batch=2 or more"),
        (
            "pix2pix",
            {"objective": "ebgan", "discriminator": "pixel"},
            "set discriminator=autoencoder in place of pixel",
        ),
        (
            "cyclegan",
            {"objective": "ebgan", "minibatch": "std"},
            "autoencoder has no setting minibatch",
        ),
        ("cyclegan", {"objective": "ebgan", "d_layers": 6, "size": 36}, "set d_layers lower"),
        ("stargan", {"objective": "ebgan"}, "needs a discriminator that classifies the domain"),
        ("cyclegan", {"objective": "rpgan", "norm": "batch"}, "set norm=instance"),
        ("cyclegan", {"objective": "wgan", "spectral": True}, "clips the weights"),
        ("pix2pix", {"minibatch": "std", "discriminator": "pixel"}, "no setting minibatch; patch"),
        ("pix2pix", {"objective": "rpgan"}, "set norm=instance"),
        ("pix2pix", {"r1": 1.0}, "set norm=instance"),
        ("cyclegan", {"objective": "hinge", "smooth": 0.1}, "no labels to smooth; bce, minimax"),
        (
            "pix2pix",
            {"objective": "mmd", "norm": "instance", "discriminator": "pixel"},
            "needs 16 outputs for each patch, and the discriminator pixel has 1",
        ),
        ("cyclegan", {"objective": "mmd", "r1": 1.0}, "brings its own penalty"),
        ("stargan", {"unroll": 2}, "leave out one of the two"),
        ("cyclegan", {"unroll": 2, "r1": 1.0}, "leave out one of the two"),
        ("cyclegan", {"objective": "mmd", "size": 24, "batch": 1}, "have too few"),
        ("cyclegan", {"gradient_penalty": 5.0}, "lsgan has no gradient penalty"),
        ("cyclegan", {"gradient_penalty": 10.0}, "lsgan has no gradient penalty"),
        ("pix2pix", {"gradient_penalty": 0.0}, "bce has no gradient penalty"),
        ("cyclegan", {"objective": "rpgan", "gradient_penalty": 10.0}, "r1 and r2 work with any"),
        ("cyclegan", {"clip": 0.01}, "lsgan clips no weights; wgan does"),
        ("stargan", {"smooth": 0.1}, "wgan-gp has no labels to smooth"),
        ("cyclegan", {"penalty_every": 4}, "--penalty-every would change nothing: R1 and R2"),
        ("cyclegan", {"objective": "rpgan", "r1": 0, "r2": 0, "penalty_every": 4}, "no weight"),
        ("pix2pix", {"discriminator": "pixel", "d_layers": 2}, "pixel has no setting layers"),
        (
            "cyclegan",
            {"cycle": 0.0, "identity": 1.0},
            "multiple of the weight of cycle, which is 0",
        ),
        ("pix2pix", {"pool": 50}, "doesn't show past fakes"),
        (
            "cyclegan",
            {"color": 1.0, "in_channels": 1, "identity": 0},
            "color needs in_channels equal to out_channels",
        ),
        (
            "cyclegan",
            {"self_regularization": 1.0, "in_channels": 1, "identity": 0},
            "self_regularization needs in_channels equal to out_channels",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(mode, settings, said, make_config):
    with pytest.raises(UsageError, match=said):
        make_config(mode, **settings)
