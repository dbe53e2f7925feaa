"""Levels of slides by the magnification that their files tell."""

import numpy as np
import pytest
import tifffile

from img2img.errors import DataError
from img2img.rasters.magnification import level_of, magnifications

FULL = np.zeros((512, 640, 3), np.uint8)
APERIO = "Aperio Image Library v11.2.1\n640x512 (64x64) JPEG/RGB Q=70|AppMag = 20|MPP = 0.4990"


def slide(path, description: str | None, levels=(1, 4, 16)):
    kinds = {"photometric": "rgb", "tile": (64, 64), "compression": "zlib", "metadata": None}
    with tifffile.TiffWriter(path) as file:
        for number, factor in enumerate(levels):
            told = {"description": description} if number == 0 else {"subfiletype": 1}
            file.write(FULL[::factor, ::factor], **kinds, **told)
    return path


def ome(path, **pixels):
    with tifffile.TiffWriter(path, ome=True) as file:
        kinds = {"photometric": "rgb", "tile": (64, 64)}
        file.write(FULL, **kinds, subifds=1, metadata={"axes": "YXS", **pixels})
        file.write(FULL[::2, ::2], **kinds, subfiletype=1)
    return path


def test_aperios_levels_are_parts_of_its_objective(tmp_path):
    path = slide(tmp_path / "a.svs", APERIO)
    assert magnifications(path) == [20, 5, 1.25]
    assert [level_of(path, wanted) for wanted in (20, 5, 5.2, 1.25)] == [0, 1, 1, 2]


def test_a_level_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    path = slide(tmp_path / "a.svs", APERIO)
    with pytest.raises(DataError, match=r"a\.svs: its levels have .* 20, 5, 1\.25, and none is 10"):
        level_of(path, 10)
    path = slide(tmp_path / "b.svs", APERIO, levels=(1,))
    with pytest.raises(DataError, match=r"b\.svs: it is 20, and none is 40"):
        level_of(path, 40)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ({"PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"}, [40, 20]),
        ({"PhysicalSizeX": 500, "PhysicalSizeXUnit": "nm"}, [20, 10]),
    ],
)
def test_omes_pixels_count_as_a_magnification(pixels, expected, tmp_path):
    assert magnifications(ome(tmp_path / "a.ome.tif", **pixels)) == expected


def test_omes_objective_counts_before_its_pixels(tmp_path):
    path = ome(tmp_path / "a.ome.tif", PhysicalSizeX=0.7)
    text = tifffile.TiffFile(path).pages.first.description
    objective = (
        '<Instrument ID="I:0"><Objective ID="O:1" NominalMagnification="63"/>'
        '<Objective ID="O:2" NominalMagnification="10"/></Instrument>'
    )
    at = text.index("<Image")
    settings = text.index("<Pixels")
    text = (
        f'{text[:at]}{objective}{text[at:settings]}<ObjectiveSettings ID="O:2"/>{text[settings:]}'
    )
    tifffile.tiffcomment(path, text.encode())
    assert magnifications(path) == [10, 5]


@pytest.mark.parametrize(
    "description", [None, "AppMag = 20", "Aperio Image Library v1\n|AppMag = 0", APERIO[:60]]
)
def test_a_file_that_tells_nothing_is_refused(description, tmp_path):
    path = slide(tmp_path / "a.tif", description)
    with pytest.raises(DataError, match=r"a\.tif: it doesn't tell its magnification .*--level\."):
        level_of(path, 20)
    np.save(tmp_path / "a.npy", FULL)
    with pytest.raises(DataError, match=r"a\.npy: only TIFFs of slides"):
        level_of(tmp_path / "a.npy", 20)
