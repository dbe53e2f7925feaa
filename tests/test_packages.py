"""What the archives hold that are released, and what installing brings."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from hatch_build import Shipped

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIMES = ("onnxruntime", "onnxruntime-gpu")


def build(source: Path, kind: str, out: Path) -> Path:
    """The archive that hatchling builds, offline."""
    line = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(out)]
    subprocess.run(line, cwd=source, check=True, capture_output=True)
    [archive] = out.glob("*.tar.gz" if kind == "sdist" else "*.whl")
    return archive


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> tuple[Path, Path]:
    """The archive of sources, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("released")
    sources = build(ROOT, "sdist", folder / "sdist")
    with tarfile.open(sources) as archive:
        archive.extractall(folder)  # ours; Python 3.11.2 has no filters yet
    [unpacked] = [path for path in folder.iterdir() if path.name.startswith("img2img_gan-")]
    return sources, build(unpacked, "wheel", folder / "wheel")


def test_a_released_wheel_is_small_and_has_every_module(released):
    wheel = released[1]
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {path.relative_to(ROOT).as_posix() for path in (ROOT / "img2img").rglob("*.py")}
    assert wheel.stat().st_size < 3e6
    assert package <= names
    assert {"img2img/py.typed", "img2img/app/canvas.js", "img2img/app/canvas.css"} <= names
    assert any(name.startswith("img2img/shipped/quickstart/test/flat/") for name in names)
    assert {name.split("/")[0] for name in names} == {"img2img", wheel.name[:17] + ".dist-info"}


def test_released_archives_hold_no_models_tests_or_caches(released):
    sources, wheel = released
    with tarfile.open(sources) as archive:
        names = [*archive.getnames(), *zipfile.ZipFile(wheel).namelist()]
    unwanted = re.compile(r"\.onnx$|/weights/|/tests?/test_|__pycache__|/docs/|/train/|\.part$")
    assert [name for name in names if unwanted.search(name)] == []


def test_a_checkout_installs_its_models_and_an_editable_one_uses_them_in_place(tmp_path):
    (tmp_path / "weights").mkdir()
    hook = Shipped(str(tmp_path), {}, None, None, str(tmp_path), "wheel")
    for version, included in (
        ("standard", {str(tmp_path / "weights"): "img2img/shipped/weights"}),
        ("editable", {}),
    ):
        built = {"force_include": {}}
        hook.initialize(version, built)
        assert built["force_include"] == included


def test_what_the_package_of_the_models_takes_from_the_checkout_is_there():
    folder = ROOT / "packages" / "models"
    settings = tomllib.loads((folder / "pyproject.toml").read_text())
    taken = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert all((folder / source).exists() for source in taken)
    assert {"../../weights", "../../examples/quickstart"} <= taken.keys()


def test_the_requirements_without_cuda_are_the_dependencies_with_the_other_runtime():
    def plain(rows) -> set[str]:
        return {re.split(r"\s*[;#]", row)[0].strip() for row in rows} - {""}

    def is_runtime(row: str) -> bool:
        return re.split("[>=<]", row)[0] in RUNTIMES

    small = plain((ROOT / "requirements-cpu.txt").read_text().splitlines())
    full = plain(PROJECT["dependencies"])
    assert {row for row in small if not is_runtime(row)} == {r for r in full if not is_runtime(r)}
    assert [row.split(">")[0] for row in small if is_runtime(row)] == ["onnxruntime"]


@pytest.mark.parametrize("system", ["linux", "win32", "darwin"])
@pytest.mark.parametrize("machine", ["x86_64", "AMD64", "aarch64", "arm64", "ARM64"])
def test_each_platform_gets_one_package_of_onnxruntime(system, machine):
    from packaging.requirements import Requirement

    wanted = [Requirement(row) for row in PROJECT["dependencies"]]
    place = {"sys_platform": system, "platform_machine": machine}
    [runtime] = [r.name for r in wanted if r.name in RUNTIMES and r.marker.evaluate(place)]
    has_cuda = (system, machine) in (("linux", "x86_64"), ("win32", "AMD64"))
    assert runtime == ("onnxruntime-gpu" if has_cuda else "onnxruntime")
