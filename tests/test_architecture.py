"""docs/architecture.md names what there is."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"
LINKS = re.findall(r"\[`([\w.]+)`\]\(([^)]+)\)", PAGE.read_text())


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
    path = (PAGE.parent / target).resolve()
    assert name in definitions(path), f"{path} defines no {name}"
