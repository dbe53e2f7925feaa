"""Photographs come out of packages with their licenses, and no photograph is in both parts."""

import csv
import hashlib
import io
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scripts import load, tar

build, age, darken = (load(f"photos/{name}.py") for name in ("build", "age", "darken"))
VERSIONS = 8
debian, drawing = sys.modules["debian"], sys.modules["drawing"]

COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2014 Somebody
License: GPL-3+

Files: src/activities/erase/resource/free*.jpg
Copyright: 2015 Anna
           2016 Bert
License: CC-BY-2.0
Comment: https://example.org/free

Files: src/activities/erase/resource/free1.png
License: public-domain

Files: src/activities/erase/resource/free5.webp
License: CC0-1.0

License: GPL-3+
 Some text,
 .
 and more.
"""


def photograph(seed: int, width: int = 400, height: int = 300) -> Image.Image:
    """Colored areas with edges, and another picture for every seed."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST)


def encoded(picture: Image.Image, suffix: str = "PNG") -> bytes:
    stream = io.BytesIO()
    picture.save(stream, suffix, **({"lossless": True} if suffix == "WEBP" else {}))
    return stream.getvalue()


def rcc(files: dict[str, bytes], compress: bool = True) -> bytes:
    """A Qt resource archive (version 3) with all files in one folder of a few levels."""
    [folder] = {name.rpartition("/")[0] for name in files}
    names, data, offsets = b"", b"", {}

    def named(name: str) -> int:
        nonlocal names
        offset, text = len(names), name.encode("utf-16-be")
        names += struct.pack(">HI", len(name), 0) + text
        return offset

    entries = []
    folders = folder.split("/")
    for number, part in enumerate(["", *folders]):
        count = 1 if number < len(folders) else len(files)
        offset = named(part) if number else 0
        entries.append(struct.pack(">IHII", offset, debian.DIRECTORY, count, number + 1))
    for name, content in files.items():
        raw = struct.pack(">I", len(content)) + zlib.compress(content) if compress else content
        offsets[name] = len(data)
        data += struct.pack(">I", len(raw)) + raw
        flags = debian.COMPRESSED if compress else 0
        offset = named(name.rpartition("/")[2])
        entries.append(struct.pack(">IHHHI", offset, flags, 0, 0, offsets[name]))
    tree = b"".join(entry + bytes(8) for entry in entries)  # and a time
    start = struct.calcsize(">4s5I")
    header = (start, start + len(tree), start + len(tree) + len(data))
    return struct.pack(">4sI3II", b"qres", 3, *header, 0) + tree + data + names


def deb(files: dict[str, bytes]) -> bytes:
    archive = b"!<arch>\n"
    for name, content in (
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", b"odd"),
        ("data.tar.xz", tar({f"./{name}": content for name, content in files.items()}, "w:xz")),
    ):
        archive += f"{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        archive += content + b"\n" * (len(content) % 2)
    return archive


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Packages with 40 photographs and 2 paintings, and a wheel with 4, in place of the pinned."""
    folder = tmp_path_factory.mktemp("packages")
    photos = {f"free{n}": photograph(n) for n in range(20)}
    photos |= {f"other{n}": photograph(100 + n) for n in range(20)}
    photos["smaller"] = photograph(3).resize((320, 240), Image.Resampling.LANCZOS)
    photos["gray"] = photograph(300).convert("L").convert("RGB")
    photos["tiny"] = photograph(301, 150, 150)
    erase = f"{build.ACTIVITIES}erase/resource/"
    details = f"{build.ACTIVITIES}details/resource/image/"
    paintings = ("Gogh4_background", "VincentVanGoghBridge_background")
    files = {
        "usr/share/doc/gcompris-qt-data/copyright": COPYRIGHT.encode(),
        "usr/share/a/erase.rcc": rcc(
            {f"{erase}{name}.webp": encoded(photo, "WEBP") for name, photo in photos.items()}
        ),
        "usr/share/a/details.rcc": rcc(
            {f"{details}{name}.webp": encoded(photograph(len(name)), "WEBP") for name in paintings}
        ),
    }
    (folder / "photos.deb").write_bytes(deb(files))
    sha256 = hashlib.sha256((folder / "photos.deb").read_bytes()).hexdigest()
    real = build.PACKAGES["gcompris-qt-data"]
    package = real._replace(file_name="photos.deb", sha256=sha256)
    wheel = build.WHEELS["scikit-image"]
    with zipfile.ZipFile(folder / wheel.file_name, "w") as file:
        for number, path in enumerate(wheel.photographs):
            file.writestr(path, encoded(photograph(200 + number)))
    sha256 = hashlib.sha256((folder / wheel.file_name).read_bytes()).hexdigest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "PACKAGES", {"gcompris-qt-data": package})
        patch.setattr(build, "WHEELS", {"scikit-image": wheel._replace(sha256=sha256)})
        patch.setattr(build, "TEST_BELOW", 77)  # three in ten
        yield folder


def run(out: Path, archives: Path, *options: str) -> list[dict[str, str]]:
    """Build, and the rows of sources.csv."""
    arguments = f"build.py {out} --packages {archives} --size 128".split()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [*arguments, *options])
        build.main()
    with (out / "sources.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def built(tmp_path_factory, archives):
    out = tmp_path_factory.mktemp("photos")
    return out, run(out, archives)


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_crops_of_a_photograph_are_in_one_part_only(built):
    out, rows = built
    train, test = ({name[3:] for name in names(out / s / "photo")} for s in ("train", "test"))
    assert train
    assert test
    assert not train & test
    photos = [row for row in rows if "details" not in row["path"]]
    assert train | test == {f"{row['name']}.png" for row in photos}
    for row in photos:
        assert f"{row['name']}.png" in (test if row["split"] == "test" else train)


def test_pairs_have_the_same_names_and_sizes(built):
    out, rows = built
    for split in ("train", "test"):
        files = names(out / split / "photo")
        assert names(out / split / "gray") == files == names(out / split / "edges")
        for name in sorted(files)[:5]:
            gray, edges, photo = (
                Image.open(out / split / style / name) for style in ("gray", "edges", "photo")
            )
            assert {picture.size for picture in (gray, edges, photo)} == {(128, 128)}
            assert {picture.mode for picture in (gray, edges, photo)} == {"RGB"}
            luminance = np.asarray(photo.convert("L")).astype(int)
            assert np.abs(np.asarray(gray)[..., 0] - luminance).max() <= 1
    crops = sum(int(row["crops"]) for row in rows)
    folders = ("photo", "painting")
    assert crops == sum(len(names(out / s / f)) for s in ("train", "test") for f in folders)


def test_doubles_gray_and_small_pictures_are_left_out(built):
    _, rows = built
    stems = {row["name"][7:] for row in rows}
    assert {"free3", "other3", "Gogh4"} <= stems
    assert not {"smaller", "gray", "tiny"} & stems


def test_paintings_are_named_and_apart(built):
    out, rows = built
    [bridge] = [row for row in rows if row["name"].endswith("VincentVanGoghBridge")]
    assert bridge["split"] == "test"
    assert "Vincent van Gogh" in bridge["author"]
    assert "The Langlois Bridge" in bridge["author"]
    for split, stem in (("train", "Gogh4"), ("test", "VincentVanGoghBridge")):
        paintings = names(out / split / "painting")
        assert paintings
        assert all(stem in name for name in paintings)
        assert not paintings & names(out / split / "photo")


def test_every_picture_has_its_license(built):
    _, rows = built
    licenses = {row["name"][7:]: row for row in rows}
    assert licenses["free2"]["license"] == "CC-BY-2.0"
    assert licenses["free2"]["author"] == "2015 Anna; 2016 Bert"
    assert licenses["free2"]["source"] == "https://example.org/free"
    assert licenses["free1"]["license"] == "public-domain"
    assert licenses["free5"]["license"] == "CC0-1.0"
    assert licenses["other2"]["license"] == "GPL-3+"
    assert licenses["other2"]["line_of_copyright"] == "*"


def test_a_line_of_another_file_or_another_license_lets_nothing_ship(built):
    _, rows = built
    ship = {row["name"][7:] for row in rows if row["may_ship"] == "yes"}
    # The lines of the other free ones are of .jpg and .png files, which may show anything.
    wheel = {"astronaut", "chelsea", "coffee", "rocket"}
    assert ship == {"free5", "Gogh4", "VincentVanGoghBridge", *wheel}


def test_photographs_of_wheels_are_test_pictures_with_their_licenses(built):
    _, rows = built
    [coffee] = [row for row in rows if row["name"].endswith("-coffee")]
    assert (coffee["split"], coffee["license"]) == ("test", "CC0-1.0")
    assert coffee["author"] == "Rachel Michetti"
    assert coffee["package"] == "scikit-image 0.26.0"


def test_only_what_may_ship_can_be_chosen(tmp_path, archives):
    rows = run(tmp_path, archives, "--shippable")
    assert {row["may_ship"] for row in rows} == {"yes"}
    assert len(rows) == 7
    with pytest.raises(SystemExit, match="choose another folder"):
        run(tmp_path, archives)


def test_a_picture_is_never_enlarged():
    def sides(height: int, width: int) -> list[tuple[int, ...]]:
        pixels = np.zeros((height, width, 3), np.uint8)
        return [scaled.shape[:2] for scaled in build.scales(pixels, 128)]

    assert sides(120, 400) == []
    assert sides(128, 200) == [(128, 200)]
    assert sides(200, 300) == [(128, 192), (200, 300)]
    assert sides(1080, 1920) == [(128, 228), (256, 455)]


def test_crops_cover_a_side_and_begin_in_the_middle():
    assert build.starts(128, 128, dense=False) == [0]
    assert build.starts(160, 128, dense=False) == [16]
    middle, *rest = build.starts(228, 128, dense=False)
    assert middle == 50
    assert sorted(rest) == [0, 100]
    assert len(build.starts(456, 128, dense=True)) > len(build.starts(456, 128, dense=False))


def test_edges_are_lines_where_colors_meet_and_nothing_else():
    picture = np.full((96, 96, 3), (200, 60, 60), np.uint8)
    picture[:, 48:] = (60, 122, 60)  # as light as the red
    picture += np.random.default_rng(0).integers(0, 6, picture.shape, dtype=np.uint8)
    edges = drawing.edges_of(picture)
    assert edges.shape == (96, 96)
    assert edges[8:-8, 46:51].min(axis=1).max() < 100  # a line all along the border
    assert (edges[:, :44] == 255).all()
    assert (edges[:, 53:] == 255).all()


def test_specks_are_no_edges():
    edges = np.zeros((50, 50), np.uint8)
    edges[10, 5 : 5 + drawing.SHORTEST] = 255
    edges[30, 5 : 4 + drawing.SHORTEST] = 255
    kept = drawing.without_specks(edges)
    assert kept[10].sum() == edges[10].sum()
    assert not kept[30].any()


@pytest.mark.parametrize("compress", [False, True])
def test_resources_are_read_with_their_folders(compress):
    files = {"a/b/one.txt": b"one", "a/b/zwei-ä.txt": b"two" * 1000, "a/b/empty": b""}
    assert debian.read_resources(rcc(files, compress)) == files


def test_what_is_no_archive_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a Qt resource archive"):
        debian.read_resources(bytes(40))
    (tmp_path / "a.deb").write_bytes(b"PK" + bytes(100))
    with pytest.raises(ValueError, match="not a Debian package"):
        debian.read_deb(tmp_path / "a.deb")


def test_the_last_line_that_fits_tells_the_license():
    licenses = debian.Licenses(COPYRIGHT)
    folder = "src/activities/erase/resource/"
    assert licenses.of(f"{folder}free1.webp").name == "public-domain"  # the line says .png
    assert not licenses.of(f"{folder}free1.webp").exact
    assert licenses.of(f"{folder}free1.png").exact
    assert licenses.of(f"{folder}free12.webp").name == "CC-BY-2.0"
    assert licenses.of(f"{folder}unfree.webp").pattern == "*"
    assert debian.Licenses("Format: x\n").of("a.jpg").name == "unknown"


def test_aged_crops_are_worn_prints_of_the_clean_ones(tmp_path, monkeypatch):
    small, large, out = tmp_path / "small", tmp_path / "large", tmp_path / "out"
    for data, split, style, seed in (
        (small, "train", "photo", 1),
        (small, "train", "painting", 2),
        (large, "train", "photo", 1),  # the same name in both sizes
        (small, "test", "photo", 3),
        (large, "test", "photo", 3),
        (small, "test", "painting", 4),
    ):
        (data / split / style).mkdir(parents=True)
        picture = photograph(seed, 80, 60)
        if data == large:
            picture = picture.resize((picture.width * 2, picture.height * 2))
        picture.save(data / split / style / f"{style}.png")
    monkeypatch.setattr(sys, "argv", ["age.py", str(small), str(large), "--out", str(out)])
    age.main()
    inputs, truths = out / "train" / "aged", out / "train" / "clean"
    assert names(inputs) == names(truths)
    assert len(names(inputs)) == 3 * VERSIONS
    tests = names(out / "test" / "aged")  # photographs alone, of the first size
    assert tests == {f"{version}-60-photo.png" for version in range(VERSIONS)}
    size, versions = 60, []
    for file in sorted(inputs.glob(f"*-{size}-photo.png")):
        clean = np.asarray(Image.open(truths / file.name)).astype(int)
        assert clean.shape == (size, 80)
        assert clean.min() == 0
        assert clean.max() == 255
        versions.append(np.asarray(Image.open(file)).astype(int))
        assert versions[-1].shape == (*clean.shape, 3)
        gray = versions[-1].mean(axis=2)
        assert np.corrcoef(gray.ravel(), clean.ravel())[0, 1] > 0.6  # the same picture
        assert gray.std() < clean.std()  # and faded
    assert len(versions) == VERSIONS
    assert not (versions[0] == versions[1]).all()


def test_an_aged_photograph_is_the_same_in_every_run():
    picture = np.asarray(photograph(1).convert("L"))
    first, second = (age.aged(picture, np.random.default_rng(5)) for _ in range(2))
    assert (first == second).all()


def test_the_clean_picture_reaches_from_black_to_white_and_keeps_the_order_of_grays():
    gray = np.linspace(60, 180, 400, dtype=np.uint8).reshape(20, 20)
    clean = age.clean(gray).ravel().astype(int)
    assert clean[0] == 0
    assert clean[-1] == 255
    assert (np.diff(clean) >= 0).all()


def test_aging_needs_crops(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["age.py", str(tmp_path), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match=r"build\.py makes them"):
        age.main()


def test_dark_photographs_are_noisy_and_darker_than_the_exposed_ones(tmp_path, monkeypatch):
    for split in ("train", "test"):
        (tmp_path / split / "photo").mkdir(parents=True)
        (tmp_path / split / "painting").mkdir()
        photograph(1, 80, 60).save(tmp_path / split / "photo" / "photo.png")
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["darken.py", str(tmp_path), "--out", str(out)])
    darken.main()
    files = sorted((out / "test" / "dark").iterdir())
    assert len(files) == VERSIONS
    for file in files:
        dark = np.asarray(Image.open(file)).astype(float)
        exposed = np.asarray(Image.open(out / "test" / "clean" / file.name)).astype(float)
        assert dark.shape == exposed.shape == (60, 80, 3)
        assert dark.mean() < 0.75 * exposed.mean()
        assert np.corrcoef(dark.ravel(), exposed.ravel())[0, 1] > 0.4  # the same picture


def test_an_exposed_photograph_is_neither_dim_nor_pale():
    gray = np.tile(np.linspace(0, 1, 256)[:, None, None], (1, 8, 3))
    for gamma in (4.0, 0.2):
        picture = np.rint(gray**gamma * 255).astype(np.uint8)
        median = np.median(darken.exposed(picture).max(axis=2)) / 255
        assert 0.35 < median < 0.65


def test_less_light_gives_more_noise_for_its_signal():
    picture = np.full((64, 64, 3), 200, np.uint8)
    random = np.random.default_rng(0)
    dark = [darken.darkened(picture, random).astype(float) for _ in range(40)]
    means = np.array([each.mean() for each in dark])
    ratios = np.array([each.std(axis=(0, 1)).mean() / each.mean() for each in dark])
    assert np.corrcoef(means, ratios)[0, 1] < -0.3
