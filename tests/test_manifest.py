"""What a bundle says of itself."""

import json

import pytest
from pydantic import ValidationError

from img2img.errors import DataError
from img2img.manifest import METADATA_KEY, Manifest

LEAST = {
    "name": "m",
    "method": "pix2pix",
    "direction": "ab",
    "size_multiple": 4,
    "trained_size": 64,
}


def metadata(**changes) -> dict[str, str]:
    return {METADATA_KEY: json.dumps({**LEAST, **changes})}


def test_what_was_written_is_read():
    manifest = Manifest(
        **LEAST,
        labels={"sets": [{"kind": "classes", "domains": ["cat", "dog"]}]},
        metrics={"l1": 0.5},
        config={"width": 32, "nested": {"a": [1, 2]}},
        licence="CC0-1.0",
    )
    assert Manifest.parse({METADATA_KEY: manifest.model_dump_json()}, "m.onnx") == manifest


def test_the_least_manifest_has_sensible_defaults():
    manifest = Manifest.parse(metadata(), "m.onnx")
    assert (manifest.in_channels, manifest.out_channels, manifest.labels.names) == (3, 3, ())
    assert (manifest.precision, manifest.statistics) == ("fp32", "image")


def test_fields_of_later_versions_are_ignored():
    assert Manifest.parse(metadata(from_the_future=1), "m.onnx").name == "m"


def test_other_metadata_beside_the_manifest_is_ignored():
    assert Manifest.parse({"author": "x", **metadata()}, "m.onnx").name == "m"


def test_a_foreign_model_is_told_apart_by_name():
    with pytest.raises(DataError, match=r"foreign\.onnx is an ONNX model, but not one of img2img"):
        Manifest.parse({"author": "someone"}, "foreign.onnx")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        json.dumps({key: value for key, value in LEAST.items() if key != "name"}),
        json.dumps({**LEAST, "schema_version": 2}),
        json.dumps({**LEAST, "in_channels": "three"}),
        json.dumps({**LEAST, "precision": "fp64"}),
    ],
)
def test_an_unreadable_manifest_is_a_data_error_that_names_the_file(content):
    with pytest.raises(DataError, match=r"manifest of m\.onnx can't be read"):
        Manifest.parse({METADATA_KEY: content}, "m.onnx")


def test_a_manifest_can_not_be_changed():
    manifest = Manifest(**LEAST)
    with pytest.raises(ValidationError):
        manifest.name = "other"
