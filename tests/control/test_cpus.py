"""`workers: auto` over made-up cgroup trees: version 1, version 2, nested, both at once, none."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.control.cpus import cpu_quota, worker_count

V2_MOUNT = "30 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw"
V2_SUBTREE = "30 23 0:28 /docker/abc /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw"
V1_MOUNT = "32 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct"
V1_OTHER = "33 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset"

CASES = [
    # name, /proc/self/cgroup, mountinfo, files under /sys/fs/cgroup, affinity, quota, workers
    ("no cgroup at all", "", [], {}, 8, None, 8),
    ("v2 without a limit", "0::/", [V2_MOUNT], {"cpu.max": "max 100000"}, 4, None, 4),
    ("v2 whole CPUs", "0::/", [V2_MOUNT], {"cpu.max": "200000 100000"}, 8, 2.0, 2),
    ("v2 a fraction is rounded up", "0::/", [V2_MOUNT], {"cpu.max": "150000 100000"}, 8, 1.5, 2),
    ("v2 less than one CPU is one worker", "0::/", [V2_MOUNT], {"cpu.max": "20000 100000"}, 8, 0.2, 1),
    ("affinity below the quota", "0::/", [V2_MOUNT], {"cpu.max": "800000 100000"}, 3, 8.0, 3),
    (
        "v2 nested: the child limits",
        "0::/pods/one",
        [V2_MOUNT],
        {"pods/cpu.max": "400000 100000", "pods/one/cpu.max": "100000 50000"},
        8,
        2.0,
        2,
    ),
    (
        "v2 nested: an ancestor limits",
        "0::/pods/one/leaf",
        [V2_MOUNT],
        {"pods/cpu.max": "300000 100000", "pods/one/cpu.max": "max 100000", "pods/one/leaf/cpu.max": "max"},
        8,
        3.0,
        3,
    ),
    (
        "v2 without a namespace: only the container's subtree is mounted",
        "0::/docker/abc/app",
        [V2_SUBTREE],
        {"cpu.max": "500000 100000", "app/cpu.max": "200000 100000"},
        8,
        2.0,
        2,
    ),
    (
        "v2 the path is outside of what is mounted",
        "0::/docker/xyz",
        [V2_SUBTREE],
        {"cpu.max": "300000 100000"},
        8,
        3.0,
        3,
    ),
    ("v2 a path above the namespace", "0::/../other", [V2_MOUNT], {"cpu.max": "300000 100000"}, 8, 3.0, 3),
    (
        "v1",
        "4:cpu,cpuacct:/box\n3:cpuset:/",
        [V1_OTHER, V1_MOUNT],
        {"cpu,cpuacct/box/cpu.cfs_quota_us": "250000", "cpu,cpuacct/box/cpu.cfs_period_us": "100000"},
        8,
        2.5,
        3,
    ),
    (
        "v1 without a limit",
        "4:cpu,cpuacct:/",
        [V1_MOUNT],
        {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
        8,
        None,
        8,
    ),
    (
        "both versions mounted: the tighter one counts",
        "4:cpu,cpuacct:/\n0::/",
        [V1_MOUNT, "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"],
        {"cpu,cpuacct/cpu.cfs_quota_us": "300000", "unified/cpu.max": "max 100000"},
        8,
        3.0,
        3,
    ),
]


@pytest.mark.parametrize(
    ("cgroup", "mounts", "files", "affinity", "quota", "workers"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_workers_from_cgroup_tree(
    tmp_path: Path,
    cgroup: str,
    mounts: list[str],
    files: dict[str, str],
    affinity: int,
    quota: float | None,
    workers: int,
) -> None:
    proc = tmp_path / "proc/self"
    proc.mkdir(parents=True)
    (proc / "cgroup").write_text(f"{cgroup}\n" if cgroup else "")
    (proc / "mountinfo").write_text("".join(f"{mount}\n" for mount in mounts))
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    assert cpu_quota(tmp_path) == quota
    assert worker_count(tmp_path, affinity) == workers


def test_this_machine_has_at_least_one_worker() -> None:
    assert worker_count() >= 1
