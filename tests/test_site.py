"""The documentation site builds without a warning, and needs no other server."""

import html
import importlib.util
import re
import sys
from pathlib import Path

import pytest

from img2img.methods.objectives import OBJECTIVES

ROOT = Path(__file__).parents[1]
pytest.importorskip("mkdocs", reason="pip install -e '.[docs]' first")
pytest.importorskip("mkdocstrings")
LOADED = re.compile(r'<(?:script|img|iframe|source|video)[^>]* src="([^"]+)"')
STYLES = re.compile(r'<link rel="(?!canonical|prev|next)[^"]*" href="([^"]+)"|<link href="([^"]+)"')


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    target = tmp_path_factory.mktemp("site")
    # As `mkdocs build --strict`: a broken link, a missing page or a bad docstring is an error.
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(target), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    return target


@pytest.fixture(scope="module")
def hooks():
    """docs/hooks.py, which is no package."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "hooks.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / "docs"))
    return module


def pages(site: Path) -> dict[str, str]:
    return {str(path.relative_to(site)): path.read_text() for path in site.rglob("*.html")}


def test_pages_load_nothing_from_other_servers(site):
    for name, text in pages(site).items():
        loaded = [*LOADED.findall(text), *(a or b for a, b in STYLES.findall(text))]
        assert loaded
        assert [url for url in loaded if re.match(r"(https?:)?//", url)] == [], name


def test_every_command_and_setting_is_in_the_reference(site):
    commands = (site / "reference" / "commands.html").read_text()
    settings = (site / "reference" / "settings.html").read_text()
    for text in ('id="translate"', "--max-side", 'id="doctor"', "--report"):
        assert text in commands
    for text in ('id="cyclegan"', "--nce-temperature", "--domain-scores", "--generator-lr"):
        assert text in settings


def test_public_names_are_in_the_reference(site):
    import img2img

    text = (site / "reference" / "python.html").read_text()
    for name in img2img.__all__:
        assert name.startswith("__") or f'id="img2img.{name}"' in text, name


def test_code_beside_an_equation_is_that_of_the_file(site):
    page = (site / "how-it-works.html").read_text()
    text = html.unescape(re.sub(r"<[^>]+>", "", page))
    assert "def patch_nce(query: Tensor" in text
    assert OBJECTIVES["lsgan"].formula in text


def test_formulas_need_no_script(site):
    text = (site / "how-it-works.html").read_text()
    assert text.count("<math") > 40
    assert "arithmatex" not in text


def test_files_outside_docs_are_pages_and_links_lead_to_them(site):
    assert 'href="models.html"' in (site / "gallery.html").read_text()
    assert "Security" in (site / "security.html").read_text()


def test_a_link_to_code_leads_to_its_line(site):
    text = (site / "architecture.html").read_text()
    target, line = re.search(
        r'href="(source/img2img/training/plan\.py\.html)#__codelineno-0-(\d+)"', text
    ).groups()
    lines = (ROOT / "img2img" / "training" / "plan.py").read_text().splitlines()
    assert lines[int(line) - 1].startswith(("def make_plan", "class Plan"))
    assert f'id="__codelineno-0-{line}"' in (site / target).read_text()


def test_code_that_a_page_asks_for_and_that_is_not_there_is_an_error(hooks):
    page = "[`no_such_name`](../img2img/methods/cut.py)"
    with pytest.raises(ValueError, match="no_such_name"):
        hooks.ALONE.sub(lambda match: hooks._with_code(match, "docs/how-it-works.md"), page)


def test_links_in_blocks_of_code_stay_as_they_are(hooks):
    text = "[a](b)\n\n```sh\n[a](b)\n```\n"
    assert hooks._outside_fences(text, str.upper) == "[A](B)\n\n```sh\n[a](b)\n```\n"
