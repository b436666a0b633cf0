"""ONNX Runtime's telemetry, which also hangs forked processes, is off unless the user has decided otherwise."""

import os
import subprocess
import sys

import pytest

FORK = """
import os, sys, time
import nst_lightning.inference, onnxruntime
time.sleep(0.5)
child = os.fork()
if not child:
    sys.exit(3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def run(code, home, **variables):
    known = {
        name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**known, "HOME": str(home), **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
def test_a_forked_process_ends_and_nothing_is_kept_about_the_user(tmp_path):
    assert run(FORK, tmp_path) == "3"
    assert not [*tmp_path.rglob("*onnxruntime*"), *tmp_path.rglob("deviceid")]


@pytest.mark.parametrize("given", [{}, {"ORT_DISABLE_TELEMETRY": "0"}])
def test_what_the_user_has_set_is_kept(tmp_path, given):
    code = "import nst_lightning, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert run(code, tmp_path, **given) == given.get("ORT_DISABLE_TELEMETRY", "1")


def test_workers_of_a_pool_end(tmp_path):
    code = """
from concurrent.futures import ProcessPoolExecutor
import nst_lightning.export
with ProcessPoolExecutor(1) as pool:
    print(list(pool.map(abs, [-4])))
"""
    assert run(code, tmp_path) == "[4]"
