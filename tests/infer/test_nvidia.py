"""What is asked of NVIDIA's driver, by a stand-in for its library."""

import ctypes

import pytest

from img2img.infer import nvidia


class Driver:
    """A driver with one GPU. Fails in the functions that it is told to."""

    def __init__(self, major: int = 9, failing: tuple[str, ...] = ()):
        self.major, self.failing = major, failing
        self.freed: list[int] = []
        self.held: dict[int, ctypes.Array] = {}

    def __getattr__(self, name: str):
        return lambda *_: 999 if name in self.failing else 0

    def cuDeviceGetAttribute(self, result, attribute, device):
        assert attribute == 75
        result._obj.value = self.major
        return 0

    def cuMemHostAlloc(self, result, size, flags):
        if "cuMemHostAlloc" in self.failing:
            return 2
        memory = (ctypes.c_uint8 * size.value)()
        result._obj.value = ctypes.addressof(memory)
        self.held[result._obj.value] = memory
        return 0

    def cuMemFreeHost(self, address):
        self.freed.append(address.value)
        return 0


@pytest.fixture
def with_driver(monkeypatch):
    def use(driver: Driver | None) -> Driver | None:
        nvidia.has_tensor_cores.cache_clear()
        monkeypatch.setattr(nvidia, "driver", lambda: driver)
        return driver

    yield use
    nvidia.has_tensor_cores.cache_clear()


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        (Driver(9), True),
        (Driver(7), True),
        (Driver(6), False),
        (Driver(9, ("cuInit",)), False),
        (Driver(9, ("cuDeviceGet",)), False),
        (None, False),
    ],
)
def test_gpus_have_tensor_cores_from_volta_on(with_driver, driver, expected):
    with_driver(driver)
    assert nvidia.has_tensor_cores() is expected


def test_pinned_memory_is_the_drivers_and_is_freed_with_its_last_array(with_driver):
    driver = with_driver(Driver())
    array = nvidia.pinned(100)
    assert (array.shape, array.flags.writeable) == ((100,), True)
    [address] = driver.held
    assert array.ctypes.data == address
    part = array[:10].reshape(2, 5)
    del array
    assert not driver.freed
    del part
    assert driver.freed == [address]


@pytest.mark.parametrize("failing", ["cuInit", "cuDevicePrimaryCtxRetain", "cuMemHostAlloc"])
def test_without_pinned_memory_usual_memory_serves(with_driver, failing):
    for driver in (Driver(failing=(failing,)), None):
        with_driver(driver)
        array = nvidia.pinned(100)
        array[:] = 7
        assert array.sum() == 700
        assert driver is None or not driver.held


class Described(Driver):
    """A driver that describes two GPUs."""

    def cuDriverGetVersion(self, result):
        result._obj.value = 12080
        return 0

    def cuDeviceGetCount(self, result):
        result._obj.value = 2
        return 0

    def cuDeviceGetName(self, buffer, size, gpu):
        buffer.value = b"Stand-in"
        return 0

    def cuDeviceTotalMem_v2(self, result, gpu):
        result._obj.value = 16 * 2**30
        return 0

    def cuDeviceGetAttribute(self, result, attribute, device):
        result._obj.value = {75: 8, 76: 6}[attribute]
        return 0


def test_the_driver_describes_itself_and_its_gpus(with_driver, monkeypatch, tmp_path):
    with_driver(Described())
    (tmp_path / "version").write_text("570.86.15\n")
    monkeypatch.setattr(nvidia, "VERSION", tmp_path / "version")
    assert nvidia.driver_versions() == {"driver": "570.86.15", "CUDA": "12.8"}
    assert nvidia.gpus() == [nvidia.Gpu("Stand-in", 16 * 2**30, "8.6")] * 2


@pytest.mark.parametrize("driver", [None, Described(failing=("cuInit",))])
def test_without_a_usable_driver_there_are_no_gpus(with_driver, driver):
    with_driver(driver)
    assert nvidia.gpus() == []
