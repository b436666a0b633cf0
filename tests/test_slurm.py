"""Runs inside SLURM allocations: one process of our own, unless srun has started the tasks."""

import os
import warnings

import pytest
from lightning.fabric.plugins.environments import SLURMEnvironment

from nst_lightning.cli import main
from nst_lightning.commands.slurm import run_as_one_process

STEP = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0"}
INTERACTIVE_STEP = {"SLURM_STEP_ID": "4294967290", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
BATCH = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}


@pytest.fixture
def allocation(monkeypatch, tmp_path):
    """A function that puts this process into an allocation, on a machine that has srun."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/srun").write_text("#!/bin/sh\n")
    (tmp_path / "bin/srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")

    def put(**variables):
        for name, value in {"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "paint", **variables}.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.mark.parametrize(
    ("variables", "of_slurm"),
    [
        ({"SLURM_NTASKS": "4"}, False),  # a shell of salloc on the machine where it was called
        ({"SLURM_NTASKS": "1"}, False),
        ({"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4", **INTERACTIVE_STEP}, False),  # on the machine allocated
        ({"SLURM_NTASKS": "4", **BATCH}, False),  # a batch script that doesn't call srun
        ({"SLURM_NTASKS": "1", **BATCH}, True),
        ({"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", **STEP}, True),  # srun
        ({}, False),
    ],
)
def test_tasks_of_srun_are_lightnings(allocation, variables, of_slurm):
    allocation(**variables)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_as_one_process()
        if variables:  # else Lightning says that there is srun
            assert SLURMEnvironment.detect() == of_slurm


def test_fit_runs_in_an_interactive_allocation(allocation, config, capfd):
    allocation(SLURM_NTASKS="4")
    with warnings.catch_warnings():
        assert main(["fit", "--config", config, "--trainer.max_steps", "1", "--trainer.limit_val_batches", "0"]) == 0
    assert "srun" not in capfd.readouterr().err
