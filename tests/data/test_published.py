"""Published data sets: what of a folder is trained on, what is held out, and what is said."""

import shutil
from pathlib import Path

import pytest

from img2img.data.parts import two_sets
from img2img.data.published import held_out_part, resolve, training_part
from img2img.data.sources import Sources
from img2img.errors import DataError, UsageError
from img2img.methods import METHODS
from img2img.training.config import RunConfig
from img2img.training.plan import resolve_sources

SAMPLE = Path(__file__).parents[2] / "examples" / "quickstart" / "train" / "flat"
PICTURES = sorted(SAMPLE.iterdir())
PAIRED, UNPAIRED, LABELLED = ("pairs", "side-by-side"), ("unpaired",), ("labelled",)


@pytest.fixture
def make(tmp_path, monkeypatch):
    """A function (folders) that makes them, with a picture in each, where the test works."""
    monkeypatch.chdir(tmp_path)

    def make(*folders: str) -> None:
        for number, folder in enumerate(folders):
            Path(folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(PICTURES[number], folder)

    return make


def paths(sources: Sources) -> dict[str, object]:
    """What is set, as text."""
    values = sources.model_dump(mode="json", exclude_defaults=True)
    return {key: value[0] if key == "data" else value for key, value in values.items()}


@pytest.mark.parametrize(
    ("train", "test"), [("train", "test"), ("Training", "TESTING"), ("train", "validation")]
)
@pytest.mark.parametrize("field", ["pairs", "data"])
def test_pairs_in_parts_train_on_the_first_and_hold_out_the_other(make, field, train, test):
    make(f"facades/{train}", f"facades/{test}")
    sources = Sources(swap=True, **{field: "facades"})
    resolved = resolve(PAIRED, sources)
    assert paths(resolved.training) == {"pairs": f"facades/{train}", "swap": True}
    assert paths(resolved.held_out) == {"pairs": f"facades/{test}"}
    assert resolved.notes == (
        f"facades has {train} and {test}: training on {train}, held out {test}",
    )


def test_test_is_held_out_rather_than_val_which_is_not_trained_on(make):
    make("facades/train", "facades/val", "facades/test")
    resolved = resolve(PAIRED, Sources(pairs="facades"))
    assert paths(resolved.held_out) == {"pairs": "facades/test"}
    [note] = resolved.notes
    assert note == (
        "facades has train, val and test: training on train, held out test; not used: val"
    )


def test_an_empty_test_folder_gives_way_to_val(make):
    make("facades/train", "facades/val")
    Path("facades/test").mkdir()
    assert paths(resolve(PAIRED, Sources(pairs="facades")).held_out) == {"pairs": "facades/val"}


TWO_SETS = {
    "the authors'": ("trainA", "trainB", "testA", "testB"),
    "in lower case": ("train_a", "train_b", "test_a", "test_b"),
    "parts, then sets": ("train/A", "train/B", "test/A", "test/B"),
    "sets, then parts": ("A/train", "B/train", "A/test", "B/test"),
}


@pytest.mark.parametrize("layouts", [PAIRED, UNPAIRED])
@pytest.mark.parametrize("layout", TWO_SETS)
def test_two_sets_come_from_one_folder(make, layouts, layout):
    folders = [f"zoo/{name}" for name in TWO_SETS[layout]]
    make(*folders)
    resolved = resolve(layouts, Sources(data="zoo"))
    assert paths(resolved.training) == {"a": folders[0], "b": folders[1]}
    assert paths(resolved.held_out) == {"a": folders[2], "b": folders[3]}
    a, b, test_a, test_b = TWO_SETS[layout]
    assert resolved.notes == (
        f"zoo has {a}, {b}, {test_a} and {test_b}: training on {a} and {b}, "
        f"held out {test_a} and {test_b}",
    )


def test_the_direction_exchanges_the_sets_of_a_pix2pix(make):
    make("zoo/trainA", "zoo/trainB", "zoo/testA", "zoo/testB")
    resolved = resolve(PAIRED, Sources(data="zoo", swap=True))
    assert paths(resolved.training) == {"a": "zoo/trainB", "b": "zoo/trainA"}
    assert paths(resolved.held_out) == {"a": "zoo/testB", "b": "zoo/testA"}
    cyclegan = resolve(UNPAIRED, Sources(data="zoo", swap=True)).training
    with pytest.raises(UsageError, match="it has no --direction"):
        METHODS["cyclegan"].open_data(cyclegan, (3, 3))


def test_two_folders_have_parts_each(make):
    make("a/train", "a/test", "b/Train", "b/Test", "b/val")
    resolved = resolve(UNPAIRED, Sources(a="a", b="b"))
    assert paths(resolved.training) == {"a": "a/train", "b": "b/Train"}
    assert paths(resolved.held_out) == {"a": "a/test", "b": "b/Test"}
    assert len(resolved.notes) == 2


def test_a_part_that_one_of_two_folders_lacks_is_neither_held_out_nor_trained_on(make):
    make("a/train", "a/test", "b/more")
    resolved = resolve(UNPAIRED, Sources(a="a", b="b"))
    assert paths(resolved.training) == {"a": "a/train", "b": "b"}
    assert not resolved.held_out.given()
    assert resolved.notes == ("a has train and test: training on train; not used: test",)


def test_parts_of_domains_are_no_domains(make):
    make("rafd/train/happy", "rafd/train/sad", "rafd/test/happy", "rafd/test/sad")
    resolved = resolve(LABELLED, Sources(data="rafd"))
    assert paths(resolved.training) == {"data": "rafd/train"}
    assert paths(resolved.held_out) == {"data": "rafd/test"}
    assert METHODS["stargan"].open_data(resolved.training, (3, 3)).labels.names == ("happy", "sad")


def test_domains_that_are_called_train_and_test_are_told(make):
    make("transport/train", "transport/test", "transport/plane")
    resolved = resolve(LABELLED, Sources(data="transport"))
    assert paths(resolved.training) == {"data": "transport"}
    assert not resolved.held_out.given()
    assert resolved.notes == (
        "transport: train and test are used as domains, since they have no sub-folders",
    )


def test_an_unlabelled_test_folder_is_no_domain_and_not_held_out(make):
    make("rafd/train/happy", "rafd/train/sad", "rafd/test")
    resolved = resolve(LABELLED, Sources(data="rafd"))
    assert paths(resolved.training) == {"data": "rafd/train"}
    assert not resolved.held_out.given()
    assert "not used: test" in resolved.notes[0]


def test_several_labelled_sets_hold_out_what_all_of_them_have(make):
    parts = ("train/x", "train/y", "test/x", "test/y")
    make(
        *(f"one/{part}" for part in parts), *(f"two/{part}2" for part in parts), "flat/p", "flat/q"
    )
    both = resolve(LABELLED, Sources(data=("one", "two")))
    assert both.training.data == (Path("one/train"), Path("two/train"))
    assert both.held_out.data == (Path("one/test"), Path("two/test"))
    mixed = resolve(LABELLED, Sources(data=("one", "flat")))
    assert mixed.training.data == (Path("one/train"), Path("flat"))
    assert not mixed.held_out.given()


def test_pictures_of_an_attribute_list_have_parts_without_sub_folders(make):
    make("celeba/train", "celeba/test")
    sources = Sources(data="celeba", attributes="list.csv", attribute=("Male",))
    resolved = resolve(LABELLED, sources)
    assert resolved.training.data == (Path("celeba/train"),)
    assert resolved.training.attributes == Path("list.csv")
    assert resolved.held_out.data == (Path("celeba/test"),)
    assert resolve(LABELLED, sources, Sources(data="celeba")).held_out == resolved.held_out


def test_what_the_user_holds_out_wins(make):
    make("facades/train", "facades/test", "facades/val")
    resolved = resolve(PAIRED, Sources(pairs="facades"), Sources(pairs="facades/val"))
    assert paths(resolved.training) == {"pairs": "facades/train"}
    assert paths(resolved.held_out) == {"pairs": "facades/val"}
    assert "held out are the folders of --test-..." in resolved.notes[0]
    [*_, note] = resolve(PAIRED, Sources(pairs="facades"), Sources(data="facades")).notes
    assert note == "facades has train, val and test: taking test"


@pytest.mark.parametrize("layouts", [PAIRED, UNPAIRED])
def test_what_was_resolved_resolves_to_itself(make, layouts):
    make("zoo/trainA", "zoo/trainB", "zoo/testA", "zoo/testB")
    first = resolve(layouts, Sources(data="zoo"))
    again = resolve(layouts, first.training, first.held_out)
    assert (again.training, again.held_out) == (first.training, first.held_out)
    assert again.notes == ()


@pytest.mark.parametrize(
    ("layouts", "folders", "sources"),
    [
        (UNPAIRED, ("a/x", "b/test"), {"a": "a", "b": "b"}),
        (PAIRED, ("pairs", "pairs/train"), {"pairs": "pairs"}),
        (LABELLED, ("styles/flat", "styles/3d"), {"data": "styles"}),
        (LABELLED, ("styles/flat/train", "styles/3d/train"), {"data": "styles"}),
    ],
)
def test_other_folders_stay_whole(make, layouts, folders, sources):
    make(*folders)
    resolved = resolve(layouts, Sources(**sources))
    assert resolved.training == Sources(**sources)
    assert not resolved.held_out.given()


def test_test_without_train_and_pictures_that_are_not_used_are_told(make):
    make("a/test", "facades/train", "facades/test", "facades/extra", "facades")
    [note] = resolve(PAIRED, Sources(pairs="a")).notes
    assert note == "a has test, but no train: all of it is used"
    [note] = resolve(PAIRED, Sources(pairs="facades")).notes
    assert note.endswith("not used: extra and 1 pictures beside them")
    make("styles/flat", "styles/3d", "styles")
    [note] = resolve(LABELLED, Sources(data="styles")).notes
    assert note == "styles: 1 pictures beside the sub-folders are not used"


@pytest.mark.parametrize(
    ("layouts", "folders", "message"),
    [
        (
            PAIRED,
            ("d/train", "d/Training", "d/test"),
            "has Training and train, and it is not",
        ),
        (UNPAIRED, ("d/trainA", "d/testA"), "has testA and trainA, but not both trainA and trainB"),
        (LABELLED, ("d/trainA", "d/trainB"), "which are two sets"),
        (UNPAIRED, ("d/train/x", "d/train/y", "d/test/x"), "--a d/train/x --b d/train/y"),
        (PAIRED, ("d/train/x", "d/train/y", "d/test/x"), "--a d/train/x --b d/train/y"),
        (UNPAIRED, ("d/train", "d/test"), "not clear how to read d"),
    ],
)
def test_names_with_several_meanings_are_refused(make, layouts, folders, message):
    make(*folders)
    with pytest.raises(DataError, match=message):
        resolve(layouts, Sources(data="d"))


@pytest.mark.parametrize("field", ["pairs", "a"])
def test_a_folder_of_two_sets_is_not_one_of_them(make, field):
    make("zoo/trainA", "zoo/trainB", "b")
    with pytest.raises(DataError, match="Give it as --data"):
        resolve(PAIRED, Sources(**{field: "zoo"}))


def test_several_folders_are_for_stargan(make):
    make("one", "two")
    with pytest.raises(
        UsageError, match="Only methods with domains, such as stargan, take several --data"
    ):
        resolve(UNPAIRED, Sources(data=("one", "two")))


def test_parts_are_taken_one_by_one(make):
    make("rafd/train/happy", "rafd/train/sad", "rafd/test/happy", "rafd/test/sad", "other/x")
    rafd = Sources(data="rafd")
    assert held_out_part(LABELLED, rafd) == (
        Sources(data="rafd/test"),
        ("rafd has train and test: taking test",),
    )
    assert training_part(LABELLED, rafd)[0] == Sources(data="rafd/train")
    assert held_out_part(LABELLED, Sources(data="other")) == (Sources(data="other"), ())


def test_two_sets_are_known_by_their_names_alone(make):
    make("styles/flat", "styles/3d", "zoo/A", "zoo/b")
    assert two_sets(Path("styles")) is None
    assert two_sets(Path("zoo")) == {"a": {"train": Path("zoo/A")}, "b": {"train": Path("zoo/b")}}


@pytest.mark.parametrize("field", ["pairs", "data"])
def test_a_data_set_that_is_alone_in_a_folder_is_that_folder(make, field):
    """As archives unpack."""
    make("kaggle/facades/train", "kaggle/facades/test")
    resolved = resolve(PAIRED, Sources(**{field: "kaggle"}))
    assert paths(resolved.training) == {"pairs": "kaggle/facades/train"}
    assert paths(resolved.held_out) == {"pairs": "kaggle/facades/test"}
    assert resolved.notes[0].startswith("kaggle/facades has train and test")


def test_a_folder_of_more_than_a_data_set_is_itself(make):
    make("both/facades/train", "both/facades/test", "both/maps")
    assert paths(resolve(PAIRED, Sources(pairs="both")).training) == {"pairs": "both"}


def test_a_link_to_a_domain_or_around_it_is_no_domain(make):
    make("styles/flat", "styles/noto", "elsewhere")
    for name, target in (("all", "."), ("up", ".."), ("also", "flat"), ("lent", "../elsewhere")):
        Path("styles", name).symlink_to(target)
    opened = METHODS["stargan"].open_data(Sources(data="styles"), (3, 3))
    assert opened.labels.names == ("flat", "lent", "noto")
    assert len(opened) == 3


def test_a_number_to_hold_out_beside_a_part_that_is_held_out_is_refused(make):
    make("facades/train", "facades/test")
    given = {"name": "x", "mode": "pix2pix", "sources": {"pairs": "facades"}, "method": {}}
    config, _ = resolve_sources(RunConfig.build(given))
    assert config.test.pairs == Path("facades/test")
    with pytest.raises(UsageError, match="--held-out would change nothing: facades/test"):
        resolve_sources(RunConfig.build({**given, "held_out": 3}))


def test_several_inputs_have_parts_each(make):
    make("optical/train", "optical/test", "sar/Train", "sar/test", "dem/train", "dem/test")
    resolved = resolve(PAIRED, Sources(a=["optical", "sar"], b="dem"))
    assert paths(resolved.training) == {
        "a": "optical/train",
        "more_a": ["sar/Train"],
        "b": "dem/train",
    }
    assert resolved.held_out.inputs == (Path("optical/test"), Path("sar/test"))
    assert len(resolved.notes) == 3


def test_as_many_held_out_inputs_are_needed_as_there_are_inputs(make):
    make("optical", "sar", "dem", "held/optical", "held/dem")
    sources = Sources(a=["optical", "sar"], b="dem")
    with pytest.raises(UsageError, match=r"There are 2 --a and 1 --test-a\. Give as many"):
        resolve(PAIRED, sources, Sources(a="held/optical", b="held/dem"))


def test_a_data_set_of_two_sets_may_have_held_out_folders(make):
    make("zoo/trainA", "zoo/trainB", "held/a", "held/b")
    resolved = resolve(UNPAIRED, Sources(data="zoo"), Sources(a="held/a", b="held/b"))
    assert paths(resolved.held_out) == {"a": "held/a", "b": "held/b"}
