"""docs/architecture.md and docs/how-it-works.md name what there is."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from img2img.methods import METHODS
from img2img.methods.objectives import OBJECTIVES

DOCS = Path(__file__).parents[1] / "docs"
LINKS = [
    link
    for page in ("architecture.md", "how-it-works.md")
    for link in re.findall(r"\[`([\w.]+)`\]\(([^)]+)\)", (DOCS / page).read_text())
]


@cache
def definitions(path: Path) -> set[str]:
    """Functions, classes, methods and variables that a module defines, as `name` or `class.name`;
    methods of a class in the same file that it inherits from among them.
    """
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            inner = (part for part in node.body if isinstance(part, ast.FunctionDef))
            names |= {f"{node.name}.{part.name}" for part in inner}
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def test_there_are_links():
    assert len(LINKS) > 50


@pytest.mark.parametrize(("name", "target"), LINKS)
def test_the_file_defines_the_name(name, target):
    path = (DOCS / target).resolve()
    assert name in definitions(path), f"{path} defines no {name}"


def test_every_method_and_objective_has_its_equation_and_code():
    text = (DOCS / "how-it-works.md").read_text()
    sections = dict(
        re.findall(r"^### (\S+)[^\n]*\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    )
    named = {name.lower(): section for name, section in sections.items()}
    for name in (*METHODS.builtin, *OBJECTIVES.builtin):
        assert "$$" in named[name], name
        assert re.search(r"^\[`", named[name], re.MULTILINE), name
