"""Limits of control groups, read from trees of files like those that the kernel shows."""

import math
import os
import subprocess
import sys

import psutil
import pytest
import torch

from nst_lightning import limits
from nst_lightning.optimization.device import free_memory

UNLIMITED = "9223372036854771712\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A function that sets up groups: those of this process, where they are mounted, and the files in them."""
    monkeypatch.setattr(limits, "PROCESS", tmp_path / "proc")

    def set_up(membership, mounts, files):
        (tmp_path / "proc").mkdir(exist_ok=True)
        (tmp_path / "proc/cgroup").write_text(membership)
        lines = [
            f"{30 + i} 23 0:29 {root} {tmp_path}/{point} rw,nosuid shared:9 - {kind} cgroup {options}\n"
            for i, (root, point, kind, options) in enumerate(mounts)
        ]
        (tmp_path / "proc/mountinfo").write_text("22 1 254:0 / / rw - ext4 /dev/vda rw\n" + "".join(lines))
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(text))

    return set_up


def v2(folder, limit, used, *, inactive=0, active=0, **more):
    stat = f"anon 1\nfile 999999\nshmem 77\ninactive_file {inactive}\nactive_file {active}\n"
    files = {"memory.max": limit, "memory.current": used, "memory.stat": stat, **more}
    return {f"{folder}/{name}": text for name, text in files.items()}


def v1(folder, limit, used, *, inactive=0, active=0):
    stat = f"inactive_file 5\nactive_file 5\ntotal_inactive_file {inactive}\ntotal_active_file {active}\n"
    files = {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": used, "memory.stat": stat}
    return {f"{folder}/{name}": text for name, text in files.items()}


V2 = [("/", "fs", "cgroup2", "rw,nsdelegate")]
V1 = [("/", "fs/cpu,cpuacct", "cgroup", "rw,cpu,cpuacct"), ("/", "fs/memory", "cgroup", "rw,memory")]


@pytest.mark.parametrize(
    ("outer", "inner", "left"),
    [
        (("max", 100), ("5000", 4000), 1000),
        (("5000", 4500), ("max", 300), 500),  # of a group around ours
        (("5000", 4500), ("900", 300), 500),
        (("max", 4500), ("max", 300), math.inf),
        (("5000", 9000), ("max", 300), 0),
    ],
)
def test_every_group_around_the_process_counts(machine, outer, inner, left):
    machine("0::/job/step\n", V2, v2("fs/job", *outer) | v2("fs/job/step", *inner))
    assert limits.memory_left() == left


def test_cached_files_are_free_and_those_in_frequent_use_half(machine):
    machine("0::/job\n", V2, v2("fs/job", 5000, 4000, inactive=300, active=200))
    assert limits.memory_left() == 1400
    machine("4:memory:/job\n", V1, v1("fs/memory/job", 5000, 4000, inactive=30, active=20))
    assert limits.memory_left() == 1040


def test_memory_above_which_the_system_slows_the_group_down(machine):
    machine("0::/job\n", V2, v2("fs/job", 5000, 1000, **{"memory.high": 3000}))
    assert limits.memory_left() == 2000


def test_version_1(machine):
    files = v1("fs/memory", UNLIMITED, 9000) | v1("fs/memory/docker", 8000, 7500) | v1("fs/memory/docker/a", 6000, 100)
    machine("5:memory:/docker/a\n3:cpu,cpuacct:/\n0::/\n", [*V1, ("/", "fs/unified", "cgroup2", "rw")], files)
    assert limits.memory_left() == 500
    machine("5:memory:/\n", V1, {})
    assert limits.memory_left() > 1e18


@pytest.mark.parametrize("root", ["/docker/a", "/elsewhere", "/docker/a/b"])
def test_containers_that_see_only_their_own_group(machine, root):
    machine("5:memory:/docker/a\n", [(root, "fs/memory", "cgroup", "rw,memory")], v1("fs/memory", 6000, 100))
    assert limits.memory_left() == 5900
    machine("0::/../../docker/a\n", V2, v2("fs", 7000, 100))
    assert limits.memory_left() == 6900


def test_other_systems_have_no_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "PROCESS", tmp_path)
    assert limits.memory_left() == math.inf
    assert 1 <= limits.usable_processors() <= os.cpu_count()


@pytest.mark.parametrize(("limit", "available"), [("max", 7 * 2**20), ("4000000", 3_000_000)])
def test_memory_of_the_machine_and_of_its_groups(tmp_path, machine, monkeypatch, limit, available):
    machine("0::/job\n", V2, v2("fs/job", limit, 1_000_000))
    (tmp_path / "meminfo").write_text("MemTotal:       16000 kB\nMemAvailable:    7168 kB\nHugePages_Total:       0\n")
    monkeypatch.setattr(limits, "MACHINE", tmp_path / "meminfo")
    assert limits.available_memory() == available


def test_memory_where_the_system_does_not_say_how_much_is_free(tmp_path, machine, monkeypatch):
    machine("0::/\n", V2, {})
    total = psutil.virtual_memory().total
    monkeypatch.setattr(limits, "MACHINE", tmp_path / "nothing")
    assert limits.available_memory() == pytest.approx(total / 2, rel=0.01)
    monkeypatch.setattr(os, "sysconf_names", {}, raising=False)
    assert limits.available_memory() == 4e9


def test_optimize_plans_with_the_memory_of_the_container(machine):
    machine("0::/job\n", V2, v2("fs/job", 5 * 10**6, 10**6))
    assert free_memory(torch.device("cpu")) == 4 * 10**6
    machine("0::/job\n", V2, v2("fs/job", "max", 10**6))
    assert free_memory(torch.device("cpu")) > 1e8


@pytest.mark.parametrize(
    ("membership", "mounts", "files", "processors"),
    [
        ("0::/a/b\n", V2, {"fs/a/cpu.max": "250000 100000", "fs/a/b/cpu.max": "max 100000"}, 3),
        ("0::/a/b\n", V2, {"fs/a/cpu.max": "max 100000", "fs/a/b/cpu.max": "50000 100000"}, 1),
        ("0::/a/b\n", V2, {"fs/a/b/cpu.max": "max 100000"}, 64),
        (
            "2:cpu,cpuacct:/a\n",
            V1,
            {"fs/cpu,cpuacct/a/cpu.cfs_quota_us": 400000, "fs/cpu,cpuacct/a/cpu.cfs_period_us": 100000},
            4,
        ),
        (
            "2:cpu,cpuacct:/a\n",
            V1,
            {"fs/cpu,cpuacct/a/cpu.cfs_quota_us": -1, "fs/cpu,cpuacct/a/cpu.cfs_period_us": 100000},
            64,
        ),
    ],
)
def test_processor_time(machine, monkeypatch, membership, mounts, files, processors):
    for name in ("process_cpu_count", "cpu_count"):
        monkeypatch.setattr(os, name, lambda: 64, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    machine(membership, mounts, files)
    assert limits.usable_processors() == processors
    assert limits.threads_for_onnx_runtime() == (0 if processors == 64 else processors)
    assert limits.threads_for_onnx_runtime(7) == 7
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.delenv("OMP_NUM_THREADS")
    limits.limit_threads()
    assert os.environ.get("OMP_NUM_THREADS") == (None if processors == 64 else str(processors))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processors can't be chosen here")
@pytest.mark.skipif(os.cpu_count() == 1, reason="there is one processor")
def test_with_one_allowed_processor(model):
    code = f"""
import os
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
from nst_lightning.inference import Stylizer
print(*(Stylizer({model!r}, threads=n)._session.get_session_options().intra_op_num_threads for n in (0, 2)))
from nst_lightning.training import PhotoDataModule
print(PhotoDataModule().workers, PhotoDataModule(workers=3).workers)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["1 2", "1 3"]
