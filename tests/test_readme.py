"""What the README promises beside its commands, which tests/test_pages.py runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


def test_ci_runs_the_readmes_test_command():
    [tests] = [block.strip() for block in BLOCKS if "pytest" in block]
    assert tests in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README))
def test_what_the_readme_links_to_is_there(target):
    assert (ROOT / target).is_file()


def test_each_statement_about_another_program_has_a_source():
    rows = [line for line in README.splitlines() if line.startswith("| [")]
    assert len(rows) == 7
    for row in rows:
        for cell in (cell.strip() for cell in row[1:-1].split("|")):
            assert not cell or re.fullmatch(r"(\[[^\]]+\]\(https://[^)]+\)(, )?)+", cell), cell
