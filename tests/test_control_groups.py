"""What a container may use, in control groups of both versions."""

from pathlib import Path

import pytest

from img2img import control_groups, files, memory

MIB = 2**20
VERSION_2 = "0::/slice/job"
VERSION_1 = {
    "memory": "4:memory:/slice/job",
    "cpu": "5:cpu,cpuacct:/slice/job",
}


@pytest.fixture
def groups(tmp_path, monkeypatch) -> Path:
    """The folder of all groups, of a process that is in none yet."""
    monkeypatch.setattr(control_groups, "ROOT", tmp_path / "groups")
    monkeypatch.setattr(control_groups, "OF_PROCESS", tmp_path / "of-process")
    (tmp_path / "groups").mkdir()
    return tmp_path / "groups"


def enter(groups: Path, line: str) -> Path:
    """Put the process into the group of a line of /proc/self/cgroup, and return the folder of the
    groups of that controller.
    """
    (groups.parent / "of-process").write_text(f"9:name=systemd:/\n{line}\n")
    top = groups / line.split(":")[1]
    (top / "slice" / "job").mkdir(parents=True)
    return top


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (VERSION_2, ("memory.max", "memory.current", "inactive_file")),
        (
            VERSION_1["memory"],
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
@pytest.mark.parametrize("limited", ["slice/job", "slice", "."])
def test_the_memory_of_a_container_counts_wherever_its_limit_is_set(groups, line, names, limited):
    top = enter(groups, line)
    (top / "slice" / "job" / names[0]).write_text("max\n")
    assert memory.available() > 60 * MIB
    where = top / limited
    (where / names[0]).write_text(f"{200 * MIB}\n")
    (where / names[1]).write_text(f"{180 * MIB}\n")
    (where / "memory.stat").write_text(f"anon 1\n{names[2]} {30 * MIB}\nfile 5\n")
    assert memory.available() == 50 * MIB


@pytest.mark.parametrize("limited", ["slice/job", "slice", "."])
@pytest.mark.parametrize("line", [VERSION_2, VERSION_1["cpu"]])
@pytest.mark.parametrize(("quota", "threads"), [(0.5, 1), (1, 1), (1.5, 1), (2, 2), (64, 8)])
def test_a_quota_of_cores_is_the_number_of_threads(
    groups, monkeypatch, line, limited, quota, threads
):
    monkeypatch.setattr(files.os, "sched_getaffinity", lambda _: range(8), raising=False)
    top = enter(groups, line)
    assert files.usable_cores() == 8
    if line == VERSION_2:
        (top / "slice" / "job" / "cpu.max").write_text("max 100000\n")
        assert files.usable_cores() == 8
        (top / limited / "cpu.max").write_text(f"{int(quota * 100_000)} 100000\n")
    else:
        (top / "slice" / "job" / "cpu.cfs_quota_us").write_text("-1\n")
        (top / "slice" / "job" / "cpu.cfs_period_us").write_text("100000\n")
        assert files.usable_cores() == 8
        (top / limited / "cpu.cfs_quota_us").write_text(f"{int(quota * 50_000)}\n")
        (top / limited / "cpu.cfs_period_us").write_text("50000\n")
    assert files.usable_cores() == threads


def test_the_smallest_of_several_quotas_counts(groups):
    top = enter(groups, VERSION_2)
    (top / "slice" / "cpu.max").write_text("150000 100000\n")
    (top / "slice" / "job" / "cpu.max").write_text("300000 100000\n")
    assert control_groups.cores() == 1.5


@pytest.mark.parametrize("text", ["", "max", "0 0", "a b", "100000 0"])
def test_a_file_that_can_not_be_read_is_no_quota(groups, text):
    top = enter(groups, VERSION_2)
    (top / "cpu.max").write_text(text)
    assert control_groups.cores() is None


def test_a_system_without_control_groups_has_no_limits(groups):
    assert control_groups.cores() is None
    assert control_groups.memory_left() == []
