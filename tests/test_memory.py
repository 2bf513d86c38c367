"""How much memory a process can still take, where a control group limits it: fake /proc and /sys/fs/cgroup."""

from __future__ import annotations

from pathlib import Path

import pytest

from workflow_scripts.memory import available_memory

GIB = 2**30


def machine(tmp_path: Path, cgroup: str, gib: int = 22) -> tuple[Path, Path]:
    """A /proc of a machine with so much memory available, and an empty /sys/fs/cgroup."""
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    root.mkdir()
    (proc / "meminfo").write_text(f"MemTotal: {32 * 2**20} kB\nMemAvailable: {gib * 2**20} kB\n")
    (proc / "self" / "cgroup").write_text(cgroup)
    return proc, root


def group(folder: Path, limit: str, used: int, cache: int = 0, version: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    prefix = "" if version == 2 else "total_"
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    statistics = f"anon {used - cache}\n{prefix}active_file {cache // 4}\n{prefix}inactive_file {cache - cache // 4}\n"
    (folder / "memory.stat").write_text(statistics)


def test_without_a_limit_it_is_what_the_machine_has_available(tmp_path: Path) -> None:
    proc, root = machine(tmp_path, "0::/user.slice\n")
    group(root / "user.slice", "max", 30 * GIB)
    assert available_memory(proc, root) == 22 * GIB


@pytest.mark.parametrize("limited", ["system.slice/job_5/step_0/user/task_0", "system.slice/job_5", "system.slice"])
def test_the_limit_of_a_nested_group_counts_wherever_it_is_set(tmp_path: Path, limited: str) -> None:
    path = "system.slice/job_5/step_0/user/task_0"
    proc, root = machine(tmp_path, f"0::/{path}\n")
    for folder in (root / path, *(root / path).parents):
        if folder == root:
            break
        group(folder, "max", GIB)
    group(root / limited, str(2 * GIB), GIB)
    assert available_memory(proc, root) == GIB


def test_a_container_that_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    proc, root = machine(tmp_path, "0::/\n")
    group(root, str(4 * GIB), GIB)
    assert available_memory(proc, root) == 3 * GIB


def test_a_container_that_sees_the_host_s_path_but_its_own_files(tmp_path: Path) -> None:
    proc, root = machine(tmp_path, "0::/kubepods/pod1/abc\n")
    group(root, str(4 * GIB), GIB)
    assert available_memory(proc, root) == 3 * GIB


def test_page_cache_is_not_counted_as_used(tmp_path: Path) -> None:
    proc, root = machine(tmp_path, "0::/job\n")
    group(root / "job", str(8 * GIB), 7 * GIB, cache=5 * GIB)
    assert available_memory(proc, root) == 6 * GIB


def test_a_group_without_statistics_keeps_its_limit(tmp_path: Path) -> None:
    proc, root = machine(tmp_path, "4:memory:/job\n")
    group(root / "memory" / "job", str(4 * GIB), GIB, version=1)
    (root / "memory" / "job" / "memory.stat").unlink()
    assert available_memory(proc, root) == 3 * GIB


def test_the_soft_limit_of_version_2_counts(tmp_path: Path) -> None:
    proc, root = machine(tmp_path, "0::/job\n")
    group(root / "job", "max", GIB)
    (root / "job" / "memory.high").write_text(f"{3 * GIB}\n")
    assert available_memory(proc, root) == 2 * GIB


def test_version_1_with_its_controllers_in_any_order(tmp_path: Path) -> None:
    proc, root = machine(tmp_path, "12:cpu,cpuacct:/\n9:hugetlb,memory:/slurm/uid_0/job_5\n0::/\n")
    group(root / "memory" / "slurm" / "uid_0" / "job_5", str(2 * GIB), GIB, cache=GIB // 2, version=1)
    group(root / "memory", str(2**63 - 4096), 20 * GIB, version=1)  # what version 1 says for no limit
    assert available_memory(proc, root) == GIB + GIB // 2


def test_a_group_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    proc, root = machine(tmp_path, "0::/job\n")
    group(root / "job", str(GIB), 2 * GIB)
    assert available_memory(proc, root) == 0


def test_a_system_without_control_groups(tmp_path: Path) -> None:
    proc, root = machine(tmp_path, "")
    (proc / "self" / "cgroup").unlink()
    assert available_memory(proc, root) == 22 * GIB
