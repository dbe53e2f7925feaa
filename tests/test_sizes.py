"""Sizes as settings, manifests and options write them."""

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from img2img.sizes import Size, TrainingSize


class Settings(BaseModel):
    size: Size


@pytest.mark.parametrize(
    ("given", "wanted", "written"),
    [
        (256, (256, 256), 256),
        ("256", (256, 256), 256),
        ("512x256", (512, 256), "512x256"),
        ("512X256", (512, 256), "512x256"),
        ([512, 256], (512, 256), "512x256"),
        ((64, 64), (64, 64), 64),
    ],
)
def test_a_size_is_read_and_written(given, wanted, written):
    settings = Settings(size=given)
    assert tuple(settings.size) == wanted
    assert settings.model_dump() == {"size": written}
    assert Settings.model_validate_json(settings.model_dump_json()) == settings
    assert str(settings.size) == str(written)


@pytest.mark.parametrize(
    "given", [0, -3, "", "x", "5x", "0x5", "1x2x3", [1, 2, 3], [], 2.5, True, None, "12 px"]
)
def test_what_is_no_size_is_refused(given):
    with pytest.raises(ValidationError, match="is no size: write it as 256"):
        Settings(size=given)


def test_a_training_size_has_no_side_under_eight_pixels():
    with pytest.raises(ValidationError, match="7x64 is too small"):
        TypeAdapter(TrainingSize).validate_python("7x64")


def test_width_comes_first_and_the_shape_is_that_of_arrays():
    size = Size.of("512x256")
    assert size.shape == (256, 512)
    assert size.scaled(286 / 256) == (572, 286)
    assert size.divisible_by(256)
    assert not size.divisible_by(512)
    assert Size(512, 250).fits_in(size)
    assert not Size(500, 257).fits_in(size)


def test_the_json_schema_has_numbers_and_text():
    assert Settings.model_json_schema()["properties"]["size"]["anyOf"] == [
        {"type": "integer"},
        {"type": "string"},
    ]
