"""Lightning in a SLURM allocation whose tasks were not started by srun, such as a shell of salloc."""

import os
import warnings

_INTERACTIVE_STEP = str(0xFFFFFFFA)
"""SLURM's number of the step in which salloc runs a shell (SLURM_INTERACTIVE_STEP in slurm.h)."""


def run_as_one_process() -> None:
    """Let Lightning start the processes of a run itself, unless srun has started this one as a task of a step.

    Lightning waits for the other tasks of an allocation, which nobody has started, or refuses it. It does neither if
    the job is called `interactive`. A batch job of one task, whose script calls Python without srun, stays Lightning's.
    """
    if "SLURM_NTASKS" not in os.environ or _is_task():
        return
    os.environ["SLURM_JOB_NAME"] = "interactive"
    warnings.filterwarnings("ignore", message=".*`srun` command is available.*")


def _is_task() -> bool:
    step = os.environ.get("SLURM_STEP_ID")
    if step is not None:
        return step != _INTERACTIVE_STEP
    return "SLURM_PROCID" in os.environ and os.environ["SLURM_NTASKS"] == "1"  # a batch script
