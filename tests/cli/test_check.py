"""img2img check on values and with groups: what it prints, and its exit codes."""

import json

import numpy as np
import pytest
import tifffile
from command_line import run


@pytest.fixture
def scans(tmp_path):
    """ct/ and mr/: 4 slices of each of 8 patients, uint16 and float32, of random values."""
    random = np.random.default_rng(0)
    for patient in range(8):
        for number in range(4):
            for side, values in (
                ("ct", random.integers(0, 4096, (40, 40)).astype(np.uint16)),
                ("mr", random.random((40, 40)).astype(np.float32)),
            ):
                folder = tmp_path / side / f"p{patient}"
                folder.mkdir(parents=True, exist_ok=True)
                np.save(folder / f"{number}.npy", values)
    return tmp_path


def told(folder, *arguments, code=0):
    done = run("check", *arguments, "--json", cwd=folder)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def levels(result, level) -> list[str]:
    return [finding["what"] for finding in result["findings"] if finding["level"] == level]


def test_histograms_are_printed_with_the_range_below(scans):
    done = run("check", "ct", "mr", "--range", "ct=1:2", cwd=scans)
    assert done.returncode == 2  # the sides are a and b
    done = run("check", "ct", "mr", "--range", "a=1024:3071", cwd=scans)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    start = lines.index("a: uint16, 1 band, 1024:3071 (1024:3071)")
    assert lines[start + 1] == "  51,200 pixels of 32 of 32 files"
    bars, marks = lines[start + 2], lines[start + 3]
    assert bars.startswith(("  1 3 ", "  1 4 ", "  1 5 "))  # the percentile 0.1
    assert set(bars.split()[2]) <= set("▅▆▇█▄▃▂▁")
    assert len(bars.split()[2]) == 32
    assert marks.strip().startswith("├──────────────┤")
    assert "1024:3071, 50 % beyond it" in marks
    assert "b: float32, 1 band, 0:1 (all values are from 0 to 1)" in lines
    assert "warning: a: of the values, " in done.stdout


def test_a_terminal_without_unicode_gets_other_bars(scans):
    from img2img.cli.check import _bars, _marks
    from img2img.data.histograms import histogram

    values = np.repeat([0.5, 1.5, 3.5], [1, 8, 4])
    band = histogram("1", values, (1.0, 2.0), (0.0, 4.0), False)
    assert _bars(band, True).split() == ["▃", "█", "▆"]
    assert _bars(band, False).split() == ["-", "@", "*"]
    assert _marks(band, True) == " " * 8 + "├──────┤" + " " * 16
    assert _marks(band, False) == " " * 8 + "[------]" + " " * 16
    narrow = histogram("1", values, (1.0, 1.01), (0.0, 4.0), False)
    assert _marks(narrow, True) == " " * 8 + "─" + " " * 23


def test_json_has_the_counts(scans):
    result = told(scans, "ct", "mr", "--range", "b=0:2")
    a, b = result["values"]
    assert (a["side"], b["side"]) == ("a", "b")
    [band] = b["histograms"]
    assert sum(band["counts"]) == 51_200
    assert band["counts"][17:] == [0] * 15
    assert (band["low"], band["high"], band["width"]) == (0, 2, 1 / 16)


def test_groups_are_held_out_as_train_would_hold_them_out(scans):
    plain = told(scans, "ct", "mr")
    assert list(plain["roles"]) == ["a", "b"]
    result = told(scans, "ct", "mr", "--group", "parent")
    assert {role: of["pictures"] for role, of in result["roles"].items()} == {
        "a": 28,
        "b": 28,
        "test a": 4,
        "test b": 4,
    }
    assert "7 groups are trained on, 1 held out:" in levels(result, "note")
    assert result["values"] == plain["values"]  # of all files, as train chooses ranges


def test_a_group_of_both_parts_is_an_error(scans):
    for side in ("ct", "mr"):
        (scans / f"test-{side}" / "p3").mkdir(parents=True)
        np.save(scans / f"test-{side}" / "p3" / "9.npy", np.load(scans / side / "p3/0.npy") // 2)
    test = ("--test", "test-ct", "--test", "test-mr")
    assert levels(told(scans, "ct", "mr", *test), "error") == []
    result = told(scans, "ct", "mr", *test, "--group", "parent", code=3)
    assert "1 group is both in the training data and held out: p3." in levels(result, "error")[0]


def test_a_file_of_both_parts_is_an_error(scans):
    for side in ("ct", "mr"):
        (scans / f"test-{side}").mkdir()
        (scans / f"test-{side}" / "9.npy").write_bytes((scans / side / "p3/0.npy").read_bytes())
    result = told(scans, "ct", "mr", "--test", "test-ct", "--test", "test-mr", code=3)
    [what] = levels(result, "error")
    assert what.startswith("2 held-out files are also in the training data")
    assert not any("identical" in finding["what"] for finding in result["findings"])
    [files] = [f["files"] for f in result["findings"] if f["level"] == "error"]
    assert files == ["test-ct/9.npy = ct/p3/0.npy", "test-mr/9.npy = mr/p3/0.npy"]


def test_a_path_without_a_group_is_named(scans):
    done = run("check", "ct", "mr", "--group", r"p([0-6])", cwd=scans)
    assert done.returncode == 3
    assert "--group p([0-6]): ct/p7/0.npy has no group" in done.stderr
    assert run("check", "ct", "mr", "--group", "p(", cwd=scans).returncode == 2


def test_a_file_of_another_scale_is_named(scans):
    path = scans / "ct" / "p1" / "2.npy"
    np.save(path, np.load(path) // 410)  # 0 to 9 among 0 to 4095
    np.save(scans / "ct" / "p1" / "3.npy", np.zeros((40, 40), np.uint16))  # empty
    result = told(scans, "ct", "mr")
    [finding] = [f for f in result["findings"] if "differs by far in scale" in f["what"]]
    assert finding["level"] == "warning"
    assert finding["what"].startswith("1 file of a differs by far in scale")
    assert finding["files"] == ["ct/p1/2.npy: 9"]


def test_files_of_the_same_scale_are_not_told(scans):
    path = scans / "ct" / "p1" / "2.npy"
    np.save(path, np.load(path) // 30)
    assert not any("scale" in f["what"] for f in told(scans, "ct", "mr")["findings"])


@pytest.mark.parametrize("part", ["ct/p1", "test-ct"])
def test_a_file_of_another_type_or_number_of_bands_is_named(scans, part):
    for side in ("ct", "mr"):
        (scans / f"test-{side}").mkdir()
        np.save(scans / f"test-{side}" / "1.npy", np.load(scans / side / "p3/0.npy") // 2)
    np.save(scans / part / "1.npy", np.zeros((40, 40, 2), np.int16))
    result = told(scans, "ct", "mr", "--test", "test-ct", "--test", "test-mr", code=3)
    [what] = levels(result, "error")
    assert "are not of one kind: 32 1 band of uint16, 1 2 bands of int16" in what
    [files] = [f["files"] for f in result["findings"] if f["level"] == "error"]
    assert files == [f"{part}/1.npy"]


def test_domains_of_different_types_are_an_error(scans):
    result = told(scans, ".", "--mode", "stargan", code=3)
    [what] = levels(result, "error")
    assert "The pictures of a differ: ct/p0/0.npy is 1 band of uint16" in what


@pytest.fixture
def volumes(tmp_path):
    """ct/ and mr/: TIFFs of 4 slices of each of 5 patients, int16 of random values."""
    random = np.random.default_rng(0)
    for patient in range(5):
        for side in ("ct", "mr"):
            (tmp_path / side).mkdir(exist_ok=True)
            values = random.integers(-500, 500, (4, 40, 40)).astype(np.int16)
            tifffile.imwrite(tmp_path / side / f"p{patient}.tif", values, photometric="minisblack")
    return tmp_path


def test_pages_are_pictures_and_files_are_held_out_whole(volumes):
    result = told(volumes, "--a", "ct", "--b", "mr", "--pages", "each", "--neighbors", "1")
    assert result["roles"]["a"]["pictures"] == 16
    assert result["roles"]["test b"]["kinds"] == {"1 band of int16": 4}
    assert result["roles"]["a"]["kinds"] == {"3 bands of int16": 16}
    assert "4 groups are trained on, 1 held out:" in levels(result, "note")
    assert [len(side["histograms"]) for side in result["values"]] == [3, 1]
    more = told(volumes, "--a", "ct", "--b", "mr", "--pages", "each", "--held-out", "8")
    assert more["roles"]["test a"]["pictures"] == 4  # a tenth, or a file
    refused = told(volumes, "--a", "ct", "--b", "mr", code=3)
    assert "Choose --pages each, first or stack." in levels(refused, "error")[0]


def test_as_many_are_held_out_as_train_is_told_to(scans):
    def held(*options) -> int:
        result = told(scans, "ct", "mr", "--group", r"/(\d)", *options)
        return result["roles"]["test a"]["pictures"]

    assert held() == held("--held-out", "16") == 8
    done = run("check", "ct", "mr", "--held-out", "4", cwd=scans)
    assert done.returncode == 2
    assert "--held-out goes with --group" in done.stderr


def test_nothing_is_held_out_where_train_is_told_so(volumes):
    for side in ("ct", "mr"):
        for patient in range(1, 5):
            (volumes / side / f"p{patient}.tif").unlink()
    folders = ("--a", "ct", "--b", "mr", "--pages", "each")
    result = told(volumes, *folders, "--held-out", "0")
    assert {role: of["pictures"] for role, of in result["roles"].items()} == {"a": 4, "b": 4}
    assert run("check", *folders, cwd=volumes).returncode == 3  # one volume can't be split


def test_ranges_and_bands_may_be_given_for_each_side(scans):
    ranges = ("--range", "a=0:4095", "--range", "b=0:2")
    bands = ("--bands", "a=1", "--bands", "b=1")
    sides = told(scans, "ct", "mr", *ranges, *bands)["values"]
    assert [side["histograms"][0]["high"] for side in sides] == [4095, 2]
    done = run("check", "ct", "mr", "--range", "0:9", "--range", "0:2", cwd=scans)
    assert done.returncode == 2
    assert "--range 0:2: it is given before." in done.stderr
    done = run("check", "ct", "mr", "--bands", "a=1", "--bands", "b=2", cwd=scans)
    assert "--bands 2: there is no such band" in done.stdout + done.stderr
