"""A pool of processes, with jobs that are quick, slow, deadly or wrong. Workers import this file."""

import itertools
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from nst_lightning.commands.worker_pool import Outcome, WorkerPool


def work(job, saving):
    """Write when the work began and ended, and in which process, unless the name asks for something else."""
    source, target = job
    begun = time.monotonic()
    if source.name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif source.name == "wrong":
        raise ZeroDivisionError
    elif source.name == "endless":
        time.sleep(3600)
    elif source.name == "bad":
        return Outcome("bad: it is", notices=["a notice"])
    elif source.name == "saving":
        with saving:
            target.write_text("half")
            time.sleep(0.5)
            target.write_text("whole")
        time.sleep(3600)
    elif source.name == "long":
        with saving:
            target.write_text("half")
            try:
                while True:
                    saving.go_on()
                    time.sleep(0.01)
            finally:
                target.unlink()
    time.sleep(0.05)
    target.write_text(f"{begun} {time.monotonic()} {os.getpid()}")
    return Outcome()


def jobs_of(folder, *names):
    return [(Path(name), folder / f"{number}-{name}") for number, name in enumerate(names)]


def pool_of(workers=2, memory=lambda job: 0.0, limit=1.0):
    return WorkerPool(work, workers, memory, limit)


def spans(jobs):
    return [tuple(map(float, target.read_text().split()[:2])) for _, target in jobs]


def overlap(a, b):
    return a[0] < b[1] and b[0] < a[1]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_job_has_its_outcome(tmp_path, workers):
    jobs = jobs_of(tmp_path, "a", "b", "bad", "c")
    with pool_of(workers) as pool:
        outcomes = dict(pool.run(jobs))
    bad = Outcome("bad: it is", notices=["a notice"])
    assert outcomes == {0: Outcome(), 1: Outcome(), 2: bad, 3: Outcome()}
    processes = {target.read_text().split()[2] for source, target in jobs if source.name != "bad"}
    assert str(os.getpid()) not in processes
    assert len(processes) <= workers
    assert not multiprocessing.active_children()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_a_worker_that_is_killed_is_replaced(tmp_path):
    jobs = jobs_of(tmp_path, "killed", "a", "killed", "b")
    with pool_of() as pool:
        outcomes = dict(pool.run(jobs))
    killed = Outcome("killed: its process was killed by SIGKILL, perhaps for lack of memory")
    assert outcomes == {0: killed, 1: Outcome(), 2: killed, 3: Outcome()}


def test_an_error_that_nobody_foresaw_is_raised(tmp_path, capfd):
    with pytest.raises(RuntimeError, match="wrong: a worker process failed"), pool_of() as pool:
        list(pool.run(jobs_of(tmp_path, "a", "wrong", "endless", "endless")))
    assert "ZeroDivisionError" in capfd.readouterr().err
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("weights", "apart"),
    [
        ([0.6, 0.6, 0.6], [(0, 1), (0, 2), (1, 2)]),
        ([0.3, 7.0, 0.3], [(0, 1), (1, 2)]),
        ([0.6, 0.3, 0.5], [(0, 2)]),
    ],
)
def test_what_does_not_fit_the_memory_waits(tmp_path, weights, apart):
    jobs = jobs_of(tmp_path, *"abc")
    memory = dict(zip("abc", weights))
    with pool_of(3, lambda job: memory[job[0].name]) as pool:
        outcomes = dict(pool.run(jobs))
    assert set(outcomes) == {0, 1, 2}
    times = spans(jobs)
    together = {pair for pair in itertools.combinations(range(3), 2) if overlap(*(times[i] for i in pair))}
    assert not together & set(apart)


def test_jobs_are_done_side_by_side(tmp_path):
    jobs = jobs_of(tmp_path, *"abcdefgh")
    with pool_of(2) as pool:
        list(pool.run(jobs))
    assert any(overlap(a, b) for a, b in itertools.combinations(spans(jobs), 2))


def test_the_end_interrupts_computations_but_not_writing(tmp_path):
    jobs = jobs_of(tmp_path, "endless", "saving", "a")
    with pool_of(3) as pool:
        assert next(pool.run(jobs)) == (2, Outcome())
        while not jobs[1][1].exists():
            time.sleep(0.01)
    assert jobs[1][1].read_text() == "whole"
    assert not jobs[0][1].exists()
    assert not multiprocessing.active_children()


def test_the_end_interrupts_writing_that_takes_long(tmp_path):
    jobs = jobs_of(tmp_path, "long", "a")
    with pool_of(2) as pool:
        assert next(pool.run(jobs)) == (1, Outcome())
        while not jobs[0][1].exists():
            time.sleep(0.01)
    assert not jobs[0][1].exists()
    assert not multiprocessing.active_children()
