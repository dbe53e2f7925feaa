"""Pages: self-contained, escaped, with pictures and curves where they belong."""

import json
import re
import shutil

import numpy as np
import pytest

from img2img import Translator, images
from img2img.errors import DataError, UsageError
from img2img.evaluate import report
from img2img.evaluate.cases import Translations
from img2img.evaluate.compare import compare
from img2img.evaluate.diagnose import LOG, Finding
from img2img.evaluate.features import extractor
from img2img.evaluate.measure import Evaluation
from img2img.evaluate.run import evaluate
from img2img.export.run import export_run
from img2img.files import pictures
from img2img.infer.registry import shipped
from img2img.writing import write_whole


@pytest.fixture(scope="module")
def held_out():
    return shipped("quickstart") / "test"


@pytest.fixture(scope="module")
def exported(trained, quiet, tmp_path_factory):
    """A function mode -> a copy of the tiny run, exported: the run itself is everybody's."""

    runs = {}

    def get(mode):
        if mode not in runs:
            runs[mode] = tmp_path_factory.mktemp("runs") / f"tiny-{mode}"
            shutil.copytree(trained(mode), runs[mode])
            export_run(runs[mode], quiet)
        return runs[mode]

    return get


def assert_self_contained(page: str) -> None:
    assert page.startswith("<!doctype html>")
    links = re.findall(r"(?:src|href)=['\"]?([^'\" >]{5})", page)
    assert all(link == "data:" for link in links)
    assert "http" not in page


def test_an_evaluation_page_shows_numbers_and_the_best_and_worst(held_out, quiet):
    translations, network = (
        Translations(Translator("flat-to-3d", "cpu")),
        extractor("efficientnet-lite0"),
    )
    wanted = ["l1", "lite0_kernel"]
    result = evaluate(
        held_out / "3d", held_out / "flat", translations, network, quiet, wanted=wanted, resamples=0
    )
    page = report.evaluation_page("flat against 3d", result, translations)
    assert_self_contained(page)
    assert page.count("<img") == 3 * 3 * report.SHOWN  # input, translation, truth
    best, worst = min(result.scores.values()), max(result.scores.values())
    assert f"{best:.4g}" in page.split("Best by l1")[1].split("Worst by l1")[0]
    assert f"{worst:.4g}" in page.split("Worst by l1")[1]
    assert "lite0_frechet left out" in page


def test_a_page_shows_what_its_run_saw_while_it_trained(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained("cyclegan"), run)
    sheet = images.encode(images.Picture(np.zeros((9, 9, 3), np.uint8)), ".png")
    write_whole(run / "diagnosis" / "x.png", sheet)
    row = {"check": "mode dropping", "way": "ab", "seen": "<3>", "means": "M.", "advice": "more"}
    rows = [{"step": step, **row, "pictures": "diagnosis/x.png"} for step in (500, 1500)]
    write_whole(run / LOG, "".join(json.dumps(row) + "\n" for row in rows))
    page = report.diagnosis(run)
    assert "500 to 1,500, in 2 looks" in page
    assert "&lt;3&gt;" in page
    assert page.count("<img") == 1
    result = Evaluation(scored_by="l1")
    whole = report.evaluation_page("title", result, Translations(), run)
    assert_self_contained(whole)
    assert "Signs of trouble during training" in whole
    assert "g/cycle_a" in whole
    write_whole(run / LOG, "")
    assert "No sign of trouble" in report.diagnosis(run)


def test_kinds_that_are_never_made_are_shown_from_the_data(held_out):
    found = Finding("mode dropping", "flat", "seen", "means", "advice", tuple(range(6)))
    files = [str(path) for path in pictures(held_out / "3d")[:6]]
    result = Evaluation(findings=[found], examples={"flat": files}, scored_by="l1")
    page = report.evaluation_page("title", result, Translations())
    assert page.count("<img") == 1


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
    page = compare(runs, [held_out / "flat"], None, quiet, direction="ab")
    assert_self_contained(page)
    assert page.count("<img") == 3 * report.SHOWN  # the input, and what each makes of it
    for text in ("tiny-pix2pix", "tiny-cyclegan", "g/l1", "g/cycle_a", "mode", "Settings"):
        assert text in page


def test_runs_of_one_name_or_without_config_are_refused(exported, held_out, quiet, tmp_path):
    run = exported("pix2pix")
    with pytest.raises(UsageError, match="have the same name"):
        compare([run, run], [held_out / "flat"], None, quiet)
    (tmp_path / "bare" / "export").mkdir(parents=True)
    bundle = next((run / "export").iterdir())
    (tmp_path / "bare" / "export" / "bare.onnx").write_bytes(bundle.read_bytes())
    with pytest.raises(DataError, match="not a training run"):
        compare([tmp_path / "bare"], [held_out / "flat"], None, quiet)
