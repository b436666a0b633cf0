"""Starts the server, sends it photos from several clients at once, and prints how fast it answers and what it takes.

Example: python server/load_test.py --requests 1000 --clients 4 --size 256
"""

import argparse
import contextlib
import http.client
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

SERVER = Path(__file__).with_name("server.py")
STARTING = 60
"""Seconds within which the server must be ready."""


@contextlib.contextmanager
def running_server(**variables: str) -> Iterator[tuple[int, psutil.Process]]:
    """The port, on 127.0.0.1, of a server that runs within this context, and its main process.

    Args:
        **variables: environment variables for it, such as `MODEL`.
    """
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    environment = {**os.environ, **variables, "HOST": "127.0.0.1", "PORT": str(port)}
    with subprocess.Popen([sys.executable, SERVER], env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until_ready(port, process)
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()


def wait_until_ready(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait for the health check to succeed."""
    end = time.monotonic() + STARTING
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            if request(port, "GET", "/health")[0] == 200:
                return
        time.sleep(0.1)
    raise RuntimeError("the server did not start")


def request(port: int, method: str, path: str, body: bytes | Iterator[bytes] | None = None) -> tuple[int, bytes]:
    """The status and the content of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=STARTING)
    with contextlib.closing(connection):
        connection.request(method, path, body, {"X-API-Key": os.environ.get("LIT_SERVER_API_KEY", "")})
        answer = connection.getresponse()
        return answer.status, answer.read()


def draw_photo(size: int) -> bytes:
    """A JPEG of waves and noise, of `size` x `size` pixels."""
    waves = np.sin(np.linspace(0, 9, size))[:, None, None] * np.linspace(20, 90, size)[:, None]
    pixels = 128 + waves + np.random.default_rng(0).normal(0, 12, (size, size, 3))
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def measure_memory(process: psutil.Process) -> float:
    """The memory that the server's processes have for themselves, in MB."""
    return sum(each.memory_full_info().uss for each in (process, *process.children(recursive=True))) / 1e6


def measure_work(process: psutil.Process) -> float:
    """The processor time that the server's processes have taken, in milliseconds."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(1000 * (time.user + time.system) for time in times)


def load(port: int, process: psutil.Process, *, requests: int, clients: int, size: int) -> None:
    """Send the photos, and print the figures."""
    photo, seconds, statuses = draw_photo(size), [], []

    def send(_: int) -> None:
        start = time.perf_counter()
        statuses.append(request(port, "POST", "/predict", photo)[0])
        seconds.append(time.perf_counter() - start)

    send(0)
    memory, elapsed, rounds = [measure_memory(process)], 0.0, 10
    work = -measure_work(process)
    with ThreadPoolExecutor(clients) as pool:
        for _ in range(rounds):
            start = time.perf_counter()
            list(pool.map(send, range(requests // rounds)))
            elapsed += time.perf_counter() - start
            memory.append(measure_memory(process))
    work += measure_work(process)
    times = np.array(seconds[1:]) * 1000
    print(f"{len(times)} photos of {size}x{size} from {clients} clients, {statuses.count(200) - 1} of them painted")
    print(f"{len(times) / elapsed:.1f} a second, {work / len(times):.0f} ms of processor time each")
    print(f"waiting: {np.median(times):.0f} ms (median), {np.quantile(times, 0.95):.0f} ms (95th percentile)")
    print("MB after the first and after each tenth:", *(f"{megabytes:.0f}" for megabytes in memory))
    if {*statuses} != {200}:
        sys.exit(f"not all were painted: {sorted({*statuses})}")


def main() -> None:
    """Read the options, and load a server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000, help="number of photos, a multiple of 10")
    parser.add_argument("--clients", type=int, default=4, help="number of clients that send them at the same time")
    parser.add_argument("--size", type=int, default=256, help="width and height of the photos in pixels")
    options = parser.parse_args()
    with running_server() as (port, process):
        load(port, process, **vars(options))


if __name__ == "__main__":
    main()
