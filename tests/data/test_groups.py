"""Groups of files: their names, and splits in which no group is on both sides."""

import re
import unicodedata

import pytest
from PIL import Image

from img2img.data.groups import Groups, as_rule, held_out_groups
from img2img.data.labelled import Labelled
from img2img.data.paired import Pairs, PairsAndInputs, SideBySide
from img2img.data.sources import Sources
from img2img.data.unpaired import PartlyPaired, Unpaired
from img2img.errors import DataError

RGB = (3, 3)
PATIENT = r"(p\d+)"


def save(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)


def slices(folder, patients, count=6):
    """`count` slices of each patient, in the folder itself."""
    save(
        *(
            folder / f"p{patient:02}_s{number}.png"
            for patient in patients
            for number in range(count)
        )
    )
    return folder


def patients_of(dataset) -> set[str]:
    return {re.search(PATIENT, path.name)[1] for path in dataset.files()}


def assert_split(dataset, rest, out, unused=0):
    """No patient is on both sides, each side has some, and no file but `unused` is lost."""
    assert patients_of(rest)
    assert patients_of(out)
    assert not patients_of(rest) & patients_of(out)
    files = [*rest.files(), *out.files()]
    assert len(set(files)) == len(files) == len(list(dataset.files())) - unused


@pytest.mark.parametrize(
    ("rule", "path", "name"),
    [
        (PATIENT, "x/p07_s1.png", "p07"),
        (r"p\d+", "x/p07_s1.png", "p07"),
        (r"^(\w+)/(p\d+)", "x/p07_s1.png", "x"),
        (r"(?:scan|slice)-\d", "slice-3.tif", "slice-3"),
        ("parent", "x/p07_s1.png", "x"),
        ("parent", "site/x/p07_s1.png", "site/x"),
    ],
)
def test_a_group_is_what_the_rule_finds_in_the_path_below_the_folder(tmp_path, rule, path, name):
    folder = tmp_path / "p99"  # which is above the path that counts
    assert Groups.of(rule, Sources(a=folder, b=tmp_path / "b")).name(folder / path) == name


def test_names_are_the_same_in_either_unicode_form(tmp_path):
    groups = Groups.of("parent", Sources(pairs=tmp_path))
    names = {
        groups.name(tmp_path / unicodedata.normalize(f, "é") / "1.png") for f in ("NFC", "NFD")
    }
    assert names == {"é"}


@pytest.mark.parametrize("rule", [PATIENT, r"(p\d+)|other", r"(\d*)x"])
def test_a_file_without_a_group_is_named(tmp_path, rule):
    groups = Groups.of(rule, Sources(pairs=tmp_path))
    with pytest.raises(DataError, match=r"other/x\.png has no group, since the regex finds none"):
        groups.name(tmp_path / "other" / "x.png")


def test_a_file_in_the_folder_itself_has_no_parent(tmp_path):
    groups = Groups.of("parent", Sources(pairs=tmp_path))
    with pytest.raises(DataError, match=r"1\.png is in .* itself, and not in a sub-folder"):
        groups.name(tmp_path / "1.png")


def test_a_broken_regex_is_refused():
    with pytest.raises(ValueError, match=r"no regular expression .*unterminated"):
        as_rule("p(")
    assert as_rule("parent") == "parent"


def test_single_files_as_groups_are_held_out_like_files():
    names = [f"{number}" for number in range(400)]
    assert len(held_out_groups({"pairs": names}, 16)) == 16
    assert len(held_out_groups({"pairs": names[:100]}, 16)) == 10  # at most a tenth
    assert len(held_out_groups({"pairs": names[:3]}, 16)) == 1  # but one


def test_the_order_of_files_and_other_groups_do_not_matter():
    names = [f"p{number}" for number in range(50) for _ in range(4)]
    chosen = held_out_groups({"pairs": names}, 8)
    assert len(chosen) == 2
    assert held_out_groups({"pairs": names[::-1]}, 8) == chosen
    left = [name for name in names if name in chosen or name < "p3"]
    assert chosen & held_out_groups({"pairs": left * 3}, 8)  # the first of the order stays


def test_about_the_wanted_number_is_held_out():
    for size in (3, 5, 7, 12, 20):
        names = [f"p{number}" for number in range(100) for _ in range(size)]
        held = len(held_out_groups({"pairs": names}, 16)) * size
        assert abs(held - 16) <= size / 2 or held == size


def test_where_all_groups_are_large_the_smallest_is_held_out():
    sizes = {"p1": 50, "p2": 40, "p3": 30}
    names = [name for name, size in sizes.items() for _ in range(size)]
    assert held_out_groups({"pairs": names}, 2) == {"p3"}


def test_every_kind_has_some_held_out_and_some_to_train_on():
    kinds = {"a": ["1", "2"], "b": ["2", "3"], "c": ["4", "5", "5"]}
    chosen = held_out_groups(kinds, 16)
    for names in kinds.values():
        assert chosen & set(names)
        assert set(names) - chosen


@pytest.mark.parametrize("names", [["p1"] * 30, ["p1"]])
def test_a_single_group_can_not_be_held_out(names):
    message = rf"the {len(names)} pictures of b are of 1 group \(p1\), none of which"
    with pytest.raises(DataError, match=message):
        held_out_groups({"pictures of a": ["p1", "p2"], "pictures of b": names}, 16)


def test_pairs_are_split_by_the_path_of_a(tmp_path):
    sources = Sources(a=slices(tmp_path / "a", range(20)), b=slices(tmp_path / "b", range(20)))
    dataset = Pairs.open(sources, RGB)
    rest, out = dataset.split_groups(12, Groups.of(PATIENT, sources))
    assert_split(dataset, rest, out)
    assert len(out) == 12


def test_pairs_without_the_split_by_groups_do_leak(tmp_path):
    """Otherwise the tests of this file would tell nothing."""
    sources = Sources(a=slices(tmp_path / "a", range(20)), b=slices(tmp_path / "b", range(20)))
    rest, out = Pairs.open(sources, RGB).split(12)
    assert patients_of(rest) & patients_of(out)


def test_inputs_without_a_partner_are_not_those_of_held_out_groups(tmp_path):
    sources = Sources(a=slices(tmp_path / "a", range(20), 8), b=slices(tmp_path / "b", range(20)))
    dataset = PairsAndInputs.open(sources, RGB)
    rest, out = dataset.split_groups(12, Groups.of(PATIENT, sources))
    assert_split(dataset, rest, out, unused=4)
    assert len(rest.extra) == 36
    assert not out.extra


def test_inputs_without_a_partner_have_to_be_left(tmp_path):
    a, b = slices(tmp_path / "a", range(2)), slices(tmp_path / "b", range(2))
    sources = Sources(a=a, b=b)
    [held] = patients_of(Pairs.open(sources, RGB).split_groups(1, Groups.of(PATIENT, sources))[1])
    save(a / f"{held}_alone.png")
    dataset = PairsAndInputs.open(sources, RGB)
    with pytest.raises(DataError, match=rf"all 1 inputs without a partner .*\({held}\)"):
        dataset.split_groups(1, Groups.of(PATIENT, sources))


def test_files_of_both_pictures_are_split_by_their_folder(tmp_path):
    for patient in range(10):
        slices(tmp_path / f"p{patient}", [patient])
    sources = Sources(pairs=tmp_path)
    dataset = SideBySide.open(sources, RGB)
    rest, out = dataset.split_groups(16, Groups.of("parent", sources))
    assert_split(dataset, rest, out)
    assert len(out) == 6


@pytest.mark.parametrize("second", [range(20), range(10, 30), range(18, 40), range(20, 40)])
def test_a_patient_held_out_of_one_set_does_not_train_in_the_other(tmp_path, second):
    sources = Sources(a=slices(tmp_path / "a", range(20)), b=slices(tmp_path / "b", second, 4))
    dataset = Unpaired.open(sources, RGB)
    rest, out = dataset.split_groups(12, Groups.of(PATIENT, sources))
    assert_split(dataset, rest, out)
    assert min(len(out.a), len(out.b), len(rest.a), len(rest.b)) > 0


def test_partners_are_held_out_together_with_all_of_their_group(tmp_path):
    sources = Sources(
        a=slices(tmp_path / "a", range(20), 8), b=slices(tmp_path / "b", range(5, 30))
    )
    dataset = PartlyPaired.open(sources, RGB)
    rest, out = dataset.split_groups(12, Groups.of(PATIENT, sources))
    assert_split(dataset, rest, out)
    for part in (rest, out):
        assert part.pairs
        assert [p.name for p in part.a[: part.pairs]] == [p.name for p in part.b[: part.pairs]]
        alone = {path.name for path in part.a[part.pairs :]}
        assert not alone & {path.name for path in part.b}


@pytest.mark.parametrize("rule", [PATIENT, "parent"])
def test_a_patient_is_held_out_of_all_domains(tmp_path, rule):
    for domain, patients in (("t1", range(12)), ("t2", range(6, 20)), ("flair", range(15, 30))):
        for patient in patients:
            slices(tmp_path / domain / f"p{patient:02}", [patient])
    sources = Sources(data=(tmp_path,))
    dataset = Labelled.open(sources, RGB)
    rest, out = dataset.split_groups(18, Groups.of(rule, sources))
    assert_split(dataset, rest, out)
    for part in (rest, out):
        assert {role for role, _ in part.roles()} == {"t1", "t2", "flair"}


def test_a_domain_of_one_patient_is_named(tmp_path):
    slices(tmp_path / "t1", range(5))
    slices(tmp_path / "t2", [3])
    sources = Sources(data=(tmp_path,))
    dataset = Labelled.open(sources, RGB)
    with pytest.raises(DataError, match=r"the 6 pictures of t2 are of 1 group \(p03\)"):
        dataset.split_groups(4, Groups.of(PATIENT, sources))


def test_pictures_with_attributes_are_split_by_their_path_in_the_folder(tmp_path):
    for patient in range(10):
        slices(tmp_path / "img" / f"p{patient}", [patient])
    names = sorted(p.relative_to(tmp_path / "img").as_posix() for p in tmp_path.rglob("*.png"))
    rows = [f"{name} {1 - 2 * (number % 2)}" for number, name in enumerate(names)]
    (tmp_path / "list.txt").write_text("\n".join([str(len(rows)), "Ill", *rows, ""]))
    given = {"attributes": tmp_path / "list.txt", "attribute": ("Ill",)}
    sources = Sources(data=(tmp_path / "img",), **given)
    dataset = Labelled.open(sources, RGB)
    rest, out = dataset.split_groups(6, Groups.of("parent", sources))
    assert_split(dataset, rest, out)
