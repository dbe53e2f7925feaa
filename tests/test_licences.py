"""What is installed carries the licences of what it consists of, and those of others are listed."""

import importlib.util
import tomllib
from email.message import Message
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

DOCS = Path(__file__).parents[1] / "docs"


def test_the_licences_of_pictures_and_weights_are_installed():
    ends = {Path(file).parts[-2:] for file in metadata.files("img2img-gan")}
    notices = {("emoji", "LICENSE-Apache-2.0")}
    notices |= {(data, "NOTICE.md") for data in ("emoji", "earth", "photos")}
    assert notices | {("licenses", "LICENSE")} <= ends


@pytest.mark.parametrize(
    ("fields", "stated"),
    [
        ({"License-Expression": "MIT", "License": "other"}, "MIT"),
        ({"Classifier": "License :: OSI Approved :: MIT License", "License": "x"}, "MIT License"),
        ({"License": "BSD-3-Clause\n\nCopyright"}, "BSD-3-Clause"),
        ({"License": "UNKNOWN"}, ""),
        ({}, ""),
    ],
)
def test_a_licence_is_read_as_its_package_states_it(fields, stated):
    spec = importlib.util.spec_from_file_location("licenses", DOCS / "licenses.py")
    licenses = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(licenses)
    package = Message()
    for name, value in fields.items():
        package[name] = value
    assert licenses.licence(package) == stated


def test_every_dependency_is_in_the_list():
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]
    listed = (DOCS / "licenses.md").read_text()
    # They are not in [all].
    left_out = {"models", "cuda", "jxl", "gcs", "ray", "wandb", "mlflow", "all", "dev", "docs"}
    extras = project["optional-dependencies"]
    rows = [row for name in extras.keys() - left_out for row in extras[name]]
    for row in project["dependencies"] + rows:
        name = Requirement(row).name
        assert f"| {name} |" in listed or name == "onnxruntime"  # of other platforms
