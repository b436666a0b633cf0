import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from nst_lightning.inference import Stylizer
from nst_lightning.inference.sessions import run_session

FORKING = """
import os, sys
import psutil
from PIL import Image
from nst_lightning.inference import Stylizer

stylizer, photo = Stylizer({model!r}, threads=3, max_memory={memory}), Image.open({photo!r})
before, threads = stylizer(photo), psutil.Process().num_threads()
pid = os.fork()
if pid:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
if {paints}:
    assert stylizer(photo) == before
    assert psutil.Process().num_threads() >= 3, "the threads of the parent are gone"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.parametrize("memory", [None, 8e9])
@pytest.mark.parametrize("paints", [True, False])
def test_a_forked_process_paints_and_ends(model, picture, tmp_path, memory, paints):
    picture(60, 40).save(tmp_path / "photo.png")
    code = FORKING.format(model=model, photo=str(tmp_path / "photo.png"), memory=memory, paints=paints)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.skipif(os.name == "nt", reason="signals there are others")
def test_a_long_run_ends_at_ctrl_c():
    class Endless:
        ended = False

        def run(self, _, inputs, options):
            threading.Timer(0.1, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
            for _ in range(1000):
                if options.terminate:
                    self.ended = True
                    raise Exception("terminated")  # ONNX Runtime's are of many classes
                time.sleep(0.01)

    session = Endless()
    with pytest.raises(KeyboardInterrupt):
        run_session(session, {}, large=True)
    assert session.ended


def test_a_large_run_is_as_any_other(model):
    session, photo = Stylizer(model)._session, {"photo": np.random.default_rng(0).random((1, 3, 40, 50), np.float32)}
    np.testing.assert_array_equal(*run_session(session, photo), *run_session(session, photo, large=True))
