"""Pages: self-contained, escaped, with pictures and curves where they belong."""

import re
import shutil

import numpy as np
import pytest

from img2img import Translator
from img2img.errors import DataError, UsageError
from img2img.evaluate import report
from img2img.evaluate.compare import compare
from img2img.evaluate.features import extractor
from img2img.evaluate.measure import Maker
from img2img.evaluate.run import evaluate
from img2img.export.run import export_run
from img2img.infer.registry import shipped


@pytest.fixture(scope="module")
def held_out():
    return shipped("quickstart") / "test"


@pytest.fixture(scope="module")
def exported(trained, quiet, tmp_path_factory):
    """A function mode -> a copy of the tiny run, exported: the run itself is everybody's."""

    def get(mode):
        run = tmp_path_factory.mktemp("runs") / f"tiny-{mode}"
        shutil.copytree(trained(mode), run)
        export_run(run, quiet)
        return run

    return get


def assert_self_contained(page: str) -> None:
    assert page.startswith("<!doctype html>")
    links = re.findall(r"(?:src|href)=['\"]?([^'\" >]{5})", page)
    assert all(link == "data:" for link in links)
    assert "http" not in page


def test_an_evaluation_page_shows_numbers_and_the_best_and_worst(held_out, quiet):
    maker, eye = Maker(Translator("flat-to-3d", "cpu")), extractor("efficientnet-lite0")
    wanted = ["l1", "lite0_kernel"]
    result = evaluate(held_out / "3d", held_out / "flat", maker, eye, quiet, wanted=wanted, times=0)
    page = report.evaluation_page("flat against 3d", result, maker)
    assert_self_contained(page)
    assert page.count("<img") == 3 * 3 * report.SHOWN  # input, translation, truth
    best, worst = min(result.scores.values()), max(result.scores.values())
    assert f"{best:.4g}" in page.split("Best by l1")[1].split("Worst by l1")[0]
    assert f"{worst:.4g}" in page.split("Worst by l1")[1]
    assert "lite0_frechet left out" in page


def test_names_are_text_not_markup():
    page = report.page("<script>", report.table(["<b>"], [["<img src=x onerror=alert(1)>", 1.5]]))
    assert "<script>" not in page
    assert "<b>" not in page
    assert "&lt;img src=x" in page


def test_curves_keep_the_colours_of_the_legend_where_a_run_has_no_such_term():
    line = (np.arange(5.0), np.arange(5.0) ** 2)
    drawn = report.curves("d/real", {"first": None, "second": line})
    assert report.COLOURS[1] in drawn
    assert report.COLOURS[0] not in drawn
    assert report.curves("none", {"first": None}) == ""


def test_long_curves_are_thinned_to_means():
    line = (np.arange(10_000.0), np.tile([0.0, 2.0], 5_000))
    points = re.search(r"points='([^']*)'", report.curves("x", {"a": line, "b": line}))[1]
    assert len(points.split()) == report.POINTS


def test_runs_are_compared_on_the_same_inputs(exported, held_out, quiet):
    runs = [exported(mode) for mode in ("pix2pix", "cyclegan")]
    page = compare(runs, held_out / "flat", None, quiet, direction="ab")
    assert_self_contained(page)
    assert page.count("<img") == 3 * report.SHOWN  # the input, and what each makes of it
    for text in ("tiny-pix2pix", "tiny-cyclegan", "g/l1", "g/cycle_a", "mode", "Settings"):
        assert text in page


def test_runs_of_one_name_or_without_config_are_refused(exported, held_out, quiet, tmp_path):
    run = exported("pix2pix")
    with pytest.raises(UsageError, match="one name"):
        compare([run, run], held_out / "flat", None, quiet)
    (tmp_path / "bare" / "export").mkdir(parents=True)
    bundle = next((run / "export").iterdir())
    (tmp_path / "bare" / "export" / "bare.onnx").write_bytes(bundle.read_bytes())
    with pytest.raises(DataError, match="no training run"):
        compare([tmp_path / "bare"], held_out / "flat", None, quiet)
