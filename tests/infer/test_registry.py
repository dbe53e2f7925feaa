"""Finding a model by path or name."""

import hashlib
import os
import shlex
from pathlib import Path

import pytest

from img2img.errors import DataError, UsageError
from img2img.infer import registry


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """An empty place: no models that ship, none beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "PACKAGE", tmp_path / "checkout" / "img2img")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    make("checkout/pyproject.toml")


def make(name: str, content: bytes = b"model") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def sums(folder: str, **digests: str) -> None:
    lines = [f"{digest}  {name}.onnx" for name, digest in digests.items()]
    make(f"{folder}/SHA256SUMS", "\n".join([*lines, ""]).encode())


def digest(content: bytes = b"model") -> str:
    return hashlib.sha256(content).hexdigest()


def found(model: str | Path, direction: str | None = None) -> str:
    return registry.find(model, direction).path.resolve().relative_to(Path.cwd()).as_posix()


def test_a_file_that_translates_another_way_is_refused():
    registry.require_direction(None, "ab", Path("m.onnx"))
    registry.require_direction("ab", "ab", Path("m.onnx"))
    with pytest.raises(UsageError, match=r"m\.onnx translates ab, not ba"):
        registry.require_direction("ba", "ab", Path("m.onnx"))


def test_a_path_is_that_file():
    make("somewhere/m.onnx")
    assert found("somewhere/m.onnx") == "somewhere/m.onnx"
    assert found(Path("somewhere/m.onnx").resolve()) == "somewhere/m.onnx"


def test_models_come_in_the_order_of_their_digests_and_others_after_them():
    for name in ("apple", "night", "day", "zoo"):
        make(f"weights/{name}.onnx")
    make("night.onnx")
    lines = [f"{digest()}  {name}.onnx" for name in ("night", "../night", "gone", "day")]
    make("weights/SHA256SUMS", "\n".join(lines).encode())
    assert [entry.name for entry in registry.entries()] == ["night", "day", "apple", "zoo"]


def test_a_name_is_looked_for_in_weights():
    make("weights/night.onnx")
    make("weights/day.onnx")
    entry = registry.find("night")
    assert entry.name == "night"
    assert found("night") == "weights/night.onnx"


SITE = "site/img2img_gan_models/weights"


@pytest.fixture
def models_package(monkeypatch):
    """The package of the models, with one."""
    monkeypatch.syspath_prepend(Path("site").resolve())
    make("site/img2img_gan_models/__init__.py", b"")
    make(f"{SITE}/night.onnx")


def test_a_checkout_has_its_models_in_place(models_package):
    for place in ("weights", SITE, "data/img2img/models", "checkout/weights"):
        make(f"{place}/night.onnx")
    assert found("night") == "checkout/weights/night.onnx"


def test_an_installation_has_them_in_the_package_of_the_models_or_in_the_wheel(models_package):
    Path("checkout/pyproject.toml").unlink()
    make("checkout/img2img/shipped/weights/night.onnx")
    assert found("night") == f"{SITE}/night.onnx"
    Path(SITE).rename("elsewhere")
    assert found("night") == "checkout/img2img/shipped/weights/night.onnx"


def test_an_added_model_is_found_from_every_folder_with_its_digest(tmp_path, monkeypatch):
    registry.add(make("day.onnx"), b"model")
    registry.add(make("night.onnx", b"dark"), b"dark")
    make("elsewhere/weights/night.onnx", b"other")
    monkeypatch.chdir("elsewhere")
    entry = registry.find("night")
    assert entry.path == tmp_path / "data" / "img2img" / "models" / "night.onnx"
    assert entry.sha256 == digest(b"dark")
    entry.path.write_bytes(b"bark")
    with pytest.raises(DataError, match="damaged"):
        registry.find("night")
    assert registry.find("day").sha256 == digest()


@pytest.mark.parametrize("place", ["checkout/weights", "data/img2img/models"])
def test_a_name_is_not_added_twice(place):
    make(f"{place}/night.onnx", b"first")
    with pytest.raises(UsageError, match=r"There is a model night already: .*Rename night\.onnx"):
        registry.add(make("night.onnx"), b"model")
    assert Path(f"{place}/night.onnx").read_bytes() == b"first"


def test_without_the_models_an_error_tells_how_to_install_them():
    with pytest.raises(DataError, match=r"pip install 'img2img-gan\[models\]'"):
        registry.find("flat-to-3d")


def test_an_unknown_name_is_an_error_with_the_names_there_are():
    with pytest.raises(DataError, match=r"no model nihgt.*none yet"):
        registry.find("nihgt")
    make("weights/night.onnx")
    make("runs/mine/export/mine.onnx")
    with pytest.raises(DataError, match=r"no model nihgt.*: night, mine"):
        registry.find("nihgt")


def test_a_file_that_matches_its_sum_is_taken():
    make("weights/night.onnx")
    sums("weights", night=digest())
    assert registry.find("night").sha256 == digest()


@pytest.mark.parametrize("name", ["*night.onnx", " ./night.onnx", "*./night.onnx"])
def test_the_names_that_sha256sum_writes_are_understood(name):
    make("weights/night.onnx")
    make("weights/SHA256SUMS", f"{digest(b'other')} {name}\n".encode())
    with pytest.raises(DataError, match="damaged"):
        registry.find("night")


def test_a_damaged_file_is_refused_by_name():
    make("weights/night.onnx", b"mode1")
    sums("weights", night=digest())
    with pytest.raises(DataError, match=r"night\.onnx is damaged"):
        registry.find("night")


@pytest.mark.parametrize("path", ["weights/night.onnx", "checkout/weights/night.onnx"])
def test_a_damaged_file_is_refused_by_path(path):
    make(path, b"mode1")
    sums(str(Path(path).parent), night=digest())
    for model in (path, Path(path).resolve()):
        with pytest.raises(DataError, match=r"night\.onnx is damaged"):
            registry.find(model)
    make(path)
    assert registry.find(path).sha256 == digest()


def test_a_digest_is_computed_once_for_each_version_of_a_file(monkeypatch):
    path = make("weights/night.onnx")
    sums("weights", night=digest())
    computed, digested = [], hashlib.file_digest

    def counted(*arguments):
        computed.append(arguments)
        return digested(*arguments)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    for _ in range(3):
        registry.find(path)
    assert len(computed) == 1
    make("weights/night.onnx", b"another")
    with pytest.raises(DataError, match="damaged"):
        registry.find(path)


def test_sums_may_have_capitals_and_bytes_that_are_no_text():
    make("weights/night.onnx")
    make("weights/SHA256SUMS", f"{digest().upper()}  night.onnx\n".encode() + b"\xff  \xff\n")
    assert registry.find("night").sha256 == digest()


def test_a_damaged_neighbour_does_not_matter():
    make("weights/night.onnx")
    make("weights/day.onnx", b"damaged")
    sums("weights", night=digest(), day=digest())
    assert found("night") == "weights/night.onnx"


def test_a_file_without_a_sum_is_taken():
    make("weights/night.onnx")
    sums("weights", day=digest())
    assert registry.find("night").sha256 is None


@pytest.mark.parametrize("model", ["mine", "runs/mine", "runs/mine/"])
def test_a_run_is_its_export(model):
    make("runs/mine/export/mine.onnx")
    make("runs/mine/config.json")
    make("runs/stray.txt")
    assert found(model) == "runs/mine/export/mine.onnx"


def test_a_run_folder_anywhere_is_its_export():
    make("elsewhere/mine/export/mine.onnx")
    assert found("elsewhere/mine") == "elsewhere/mine/export/mine.onnx"


def test_a_run_folder_does_not_find_the_model_of_another():
    make("runs/mine/config.json")
    make("elsewhere/mine/export/mine.onnx")
    with pytest.raises(DataError, match="img2img export runs/mine"):
        registry.find("runs/mine")


def test_a_run_that_is_not_exported_says_how():
    make("runs/mine/config.json")
    with pytest.raises(DataError, match="Export it first: img2img export runs/mine"):
        registry.find("runs/mine")


@pytest.mark.parametrize("model", ["my run", "runs/my run", "runs/my run/", "./runs/my run", None])
def test_a_run_that_is_not_exported_says_how_however_it_is_spelled(model):
    make("runs/my run/config.json")
    make("weights/night.onnx")
    Path("my run").mkdir()  # of pictures, say
    with pytest.raises(DataError, match=r"has no model yet\. Export it first: (.*)$") as caught:
        registry.find(model or Path("runs/my run").resolve())
    command = shlex.split(str(caught.value).partition("first: ")[2])
    assert command[:2] == ["img2img", "export"]
    assert Path(command[2]).resolve() == Path("runs/my run").resolve()


@pytest.mark.parametrize("model", ["new", "runs/new", "./runs/new/", "runs/../runs/new", None])
def test_a_renamed_run_is_found_by_its_folders_name(model):
    make("runs/old/export/old.onnx")
    make("runs/old/config.json")
    Path("runs/old").rename("runs/new")
    model = model or Path("runs/new").resolve()
    assert found(model) == "runs/new/export/old.onnx"
    assert found(model, "ab") == "runs/new/export/old.onnx"
    with pytest.raises(DataError, match="There is no model"):
        registry.find(model, "ba")


@pytest.mark.parametrize("model", ["new", "runs/new"])
def test_of_a_renamed_run_with_two_directions_one_must_be_chosen(model):
    make("runs/new/export/old-ab.onnx")
    make("runs/new/export/old-ba.onnx")
    make("runs/new/export/old-ab-int8.onnx")
    with pytest.raises(UsageError, match="choose one with --direction"):
        registry.find(model)
    for direction in ("ab", "ba"):
        assert found(model, direction) == f"runs/new/export/old-{direction}.onnx"


def test_of_a_renamed_run_full_precision_is_taken_where_it_is_there():
    make("runs/new/export/old-int8.onnx")
    assert found("new") == "runs/new/export/old-int8.onnx"
    make("runs/new/export/old.onnx")
    assert found("new") == "runs/new/export/old.onnx"


def test_bundles_of_several_names_in_a_renamed_run_are_not_guessed_at():
    make("runs/new/export/one.onnx")
    make("runs/new/export/two.onnx")
    with pytest.raises(DataError, match=r"no model runs/new.*: one, two"):
        registry.find("runs/new")


def test_a_renamed_run_does_not_hide_a_model_of_its_new_name():
    make("weights/new.onnx")
    make("runs/new/export/old.onnx")
    assert found("new") == "weights/new.onnx"
    assert found("runs/new") == "runs/new/export/old.onnx"


def test_a_run_that_may_not_be_read_is_not_called_missing(monkeypatch):
    make("runs/mine/export/mine.onnx")
    listed = os.listdir

    def listdir(path):
        if Path(path).name == "export":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "listdir", listdir)
    with pytest.raises(PermissionError):
        registry.find("runs/mine")


def test_a_folder_that_happens_to_have_a_models_name_does_not_hide_it():
    make("weights/night.onnx")
    make("night/photo.png")
    assert found("night") == "weights/night.onnx"


@pytest.mark.parametrize("folder", ["weights", "runs/emoji/export"])
def test_of_two_directions_one_must_be_chosen(folder):
    make(f"{folder}/emoji-ab.onnx")
    make(f"{folder}/emoji-ba.onnx")
    with pytest.raises(UsageError, match="emoji-ab or emoji-ba"):
        registry.find("emoji")
    for direction in ("ab", "ba"):
        assert found("emoji", direction) == f"{folder}/emoji-{direction}.onnx"
        assert found(f"emoji-{direction}") == f"{folder}/emoji-{direction}.onnx"


def test_of_a_run_folder_with_two_directions_one_must_be_chosen():
    make("runs/emoji/export/emoji-ab.onnx")
    make("runs/emoji/export/emoji-ba.onnx")
    with pytest.raises(UsageError, match="--direction"):
        registry.find("runs/emoji")
    assert found("runs/emoji", "ba") == "runs/emoji/export/emoji-ba.onnx"


def test_a_direction_that_the_model_lacks_is_an_error():
    make("weights/night.onnx")
    assert found("night", "ab") == "weights/night.onnx"
    with pytest.raises(UsageError, match="night does not translate ba"):
        registry.find("night", "ba")


def test_the_only_direction_there_is_needs_no_choice():
    make("weights/emoji-ba.onnx")
    assert found("emoji") == "weights/emoji-ba.onnx"


def test_entries_lists_what_ships_then_weights_then_runs():
    make("checkout/weights/b.onnx")
    make("weights/a.onnx")
    make("runs/r/export/c.onnx")
    make("weights/readme.txt")
    assert [entry.name for entry in registry.entries()] == ["b", "a", "c"]


def test_standing_in_the_checkout_lists_every_model_once(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "PACKAGE", tmp_path / "img2img")
    make("weights/a.onnx")
    assert [entry.name for entry in registry.entries()] == ["a"]


def test_without_any_models_there_are_no_entries():
    assert list(registry.entries()) == []
