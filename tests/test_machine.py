"""What is told of the machine, from the files and calls of its system."""

import pytest

from img2img import control_groups, machine

X86 = "model name\t: AMD EPYC 9B14\nflags\t\t: fpu avx2 avx512f avx512_vnni\n"
ARM = "Features\t: fp asimd asimdhp asimddp bf16\n"


@pytest.fixture
def linux(monkeypatch, tmp_path):
    """Pretend to be on Linux with this processor."""

    def pretend(architecture: str, cpuinfo: str | None) -> None:
        monkeypatch.setattr(machine.sys, "platform", "linux")
        monkeypatch.setattr(machine.platform, "machine", lambda: architecture)
        monkeypatch.setattr(machine.platform, "processor", lambda: "")
        monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
        if cpuinfo is not None:
            (tmp_path / "cpuinfo").write_text(cpuinfo)

    return pretend


@pytest.mark.parametrize(
    ("architecture", "cpuinfo", "name", "has"),
    [
        ("x86_64", X86, "AMD EPYC 9B14", {"avx2", "avx512f", "avx512_vnni"}),
        ("aarch64", ARM, "aarch64", {"asimdhp", "asimddp", "bf16"}),
    ],
)
def test_the_instructions_are_those_that_linux_lists(linux, architecture, cpuinfo, name, has):
    linux(architecture, cpuinfo)
    assert machine.processor() == name
    told = machine.instructions()
    assert {name for name, there in told.items() if there} == has
    assert told.keys() == machine.meanings().keys()


def test_instructions_are_unknown_where_the_system_does_not_tell(linux):
    linux("AMD64", None)
    assert machine.instructions() is None
    assert machine.processor() == "AMD64"


def test_macos_is_asked_for_each_instruction(monkeypatch):
    answers = {"hw.optional.arm.FEAT_BF16": "1", "machdep.cpu.brand_string": "Apple M4"}
    monkeypatch.setattr(machine.sys, "platform", "darwin")
    monkeypatch.setattr(machine.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(machine, "_of_sysctl", lambda name: answers.get(name, ""))
    assert machine.processor() == "Apple M4"
    assert machine.instructions() == dict.fromkeys(machine.ARM, False) | {"bf16": True}


def test_a_group_without_a_limit_is_none(monkeypatch):
    monkeypatch.setattr(control_groups, "memory_left", lambda: [2**63 - 4096])
    assert "left by limits" not in machine.ram()
    monkeypatch.setattr(control_groups, "memory_left", lambda: [2**63 - 4096, 2**20])
    assert machine.ram()["left by limits"] == 2**20


def test_a_folder_that_is_missing_would_be_made_in_its_parent(tmp_path, monkeypatch):
    place = machine.place(tmp_path / "new" / "inner")
    assert place["writable"]
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(machine.os, "access", lambda path, mode: path != tmp_path)
    assert not machine.place(tmp_path / "new" / "inner")["writable"]
