"""The simulated pictures are read as what they claim to be, and are the same every time."""

import numpy as np
import pytest
from scripts import load

from img2img import rasters

simulate = load("values/simulate.py")


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(simulate, "GROUPS", 1)
    monkeypatch.setattr(simulate, "EACH", 2)


def built(kind, out, monkeypatch) -> dict[str, np.ndarray]:
    monkeypatch.setattr("sys.argv", ["simulate.py", kind, str(out)])
    simulate.main()
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {path.relative_to(out).as_posix(): rasters.read(path).values for path in files}


def test_a_slice_is_in_hounsfield_units_and_a_low_dose_is_noisy(small, tmp_path, monkeypatch):
    pictures = built("ct", tmp_path / "ct", monkeypatch)
    assert list(pictures) == [
        f"{dose}/patient00/{number:02}.dcm" for dose in ("full", "low") for number in (0, 1)
    ]
    low, full = pictures["low/patient00/00.dcm"], pictures["full/patient00/00.dcm"]
    assert rasters.read(tmp_path / "ct/full/patient00/00.dcm").unit == "HU"
    assert abs(np.median(full[:8]) + 1000) < 25  # air
    body = np.abs(full[..., 0].astype(float) - 50) < 40
    assert body.mean() > 0.1  # of muscle, of 50 HU
    assert abs(np.median(full[..., 0][body]) - 50) < 15
    noise = (low.astype(float) - full)[body]
    assert noise.std() > 30
    assert abs(noise.mean()) < noise.std() / 3


def test_fields_of_cells_are_of_12_bits_and_dim(small, tmp_path, monkeypatch):
    pictures = built("microscope", tmp_path / "one", monkeypatch)
    assert [name.split("/")[0] for name in pictures] == ["brightfield"] * 2 + ["nuclei"] * 2
    assert all(values.dtype == np.uint16 for values in pictures.values())
    assert max(values.max() for name, values in pictures.items() if "bright" in name) < 4096
    again = built("microscope", tmp_path / "two", monkeypatch)
    assert all(np.array_equal(again[name], values) for name, values in pictures.items())
