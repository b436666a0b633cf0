"""The example of a server: what it answers to good and bad requests, alone and in a batch, and how it ends."""

import asyncio
import io
import os
import re
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

pytest.importorskip("litserve")

from fastapi import HTTPException, Request
from load_test import load, request, running_server

import server
from nst_lightning.errors import WorkError
from nst_lightning.inference import Stylizer

pytestmark = pytest.mark.server
FOLDER = Path(server.__file__).parent
TURNED = 6  # EXIF orientation: a quarter clockwise


@pytest.fixture(scope="module")
def running():
    with running_server() as found:
        yield found


@pytest.fixture(scope="module")
def port(running):
    return running[0]


@pytest.fixture(scope="module")
def stylizer():
    return Stylizer("styles")


def encode(image, file_format="PNG", **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def claim(width, height):
    """A small PNG file that claims a size."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(99)))]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def decode(answer):
    status, content = answer
    assert status == 200, content
    return np.asarray(Image.open(io.BytesIO(content)), int)


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("", {}),
        ("style=udnie&strength=0.5&preserve_color=1", {"style": "udnie", "strength": 0.5, "preserve_color": 1}),
        ("style=pastel:2,udnie&strokes=0.5", {"style": {"pastel": 2, "udnie": 1}, "strokes": 0.5}),
        ("strokes=native", {"strokes": "native"}),
        ("short_side=48", {"short_side": 48}),
        ("short_side=2048", {}),
    ],
)
def test_pictures_are_those_of_the_stylizer(port, stylizer, picture, query, options):
    photo = picture(96, 64)
    found = decode(request(port, "POST", f"/predict?format=png&{query}", encode(photo)))
    expected = np.asarray(stylizer(photo, **options), int)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1
    assert np.abs(found - np.asarray(photo.resize(found.shape[1::-1]), int)).mean() > 5


def test_photos_are_turned_upright_and_transparency_is_white(port, stylizer, picture):
    exif = Image.Exif()
    exif[0x0112] = TURNED
    photo = picture(96, 64)
    file = encode(photo, "JPEG", quality=95, exif=exif)
    upright = np.rot90(np.asarray(Image.open(io.BytesIO(file))), -1)
    found = decode(request(port, "POST", "/predict?format=png", file))
    assert np.abs(found - np.asarray(stylizer(upright), int)).max() <= 1
    clear = Image.new("RGBA", (40, 40), (9, 200, 9, 0))
    found = decode(request(port, "POST", "/predict?format=png&strength=0", encode(clear)))
    assert (found >= 254).all()


def test_answers_are_jpeg_unless_png_is_asked_for(port, picture):
    status, content = request(port, "POST", "/predict", encode(picture(64, 48), "WEBP"))
    assert status == 200
    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.size) == ("JPEG", (64, 48))


GOOD = encode(Image.new("RGB", (48, 40), "teal"))
NOISE = encode(Image.effect_noise((200, 200), 50))
JPEG = encode(Image.effect_noise((200, 200), 50), "JPEG")
NO_PICTURE = "the body must be an undamaged JPEG, PNG or WebP file, and no form"


@pytest.mark.parametrize(
    ("query", "body", "status", "problem"),
    [
        ("", b"", 422, NO_PICTURE),
        ("", b"hello", 422, NO_PICTURE),
        ("", JPEG[: len(JPEG) // 2], 422, NO_PICTURE),
        ("", NOISE[: len(NOISE) // 2], 422, NO_PICTURE),
        ("", encode(Image.new("RGB", (48, 40)), "BMP"), 422, NO_PICTURE),
        ("", b'--x\r\nContent-Disposition: form-data; name="photo"\r\n\r\n' + GOOD + b"\r\n--x--\r\n", 422, NO_PICTURE),
        ("", encode(Image.new("RGB", (1, 1))), 422, "a photo of 1x1 is too small: at least 32x32 pixels"),
        ("", claim(30_000, 30_000), 413, "30000x30000 pixels are too many: at most 25000000, and 16384 a side"),
        ("", claim(20_000, 40), 413, "20000x40 pixels are too many: at most 25000000, and 16384 a side"),
        ("style=wave", GOOD, 422, "style: there is no 'wave'; did you mean great_wave?"),
        ("style=ink:x", GOOD, 422, "style must be a name, or NAME:WEIGHT, got 'ink:x'"),
        ("strength=2", GOOD, 422, "strength must be from 0 to 1, got 2.0"),
        ("strength=nan", GOOD, 422, "strength must be from 0 to 1, got nan"),
        ("strength=much", GOOD, 422, "strength: Input should be a valid number, unable to parse string as a number"),
        ("preserve_color=-1", GOOD, 422, "preserve_color must be from 0 to 1, got -1.0"),
        ("strokes=0", GOOD, 422, "strokes must be > 0, or native, got 0.0"),
        ("short_side=31", GOOD, 422, "short_side: Input should be greater than or equal to 32"),
        ("short_side=4000", GOOD, 422, "short_side: Input should be less than or equal to 2048"),
        ("format=gif", GOOD, 422, "format: Input should be 'jpeg' or 'png'"),
        ("stile=ink", GOOD, 422, "stile: Extra inputs are not permitted"),
    ],
)
def test_bad_requests_are_answered_in_one_line(port, query, body, status, problem):
    found, content = request(port, "POST", f"/predict?{query}", body)
    assert (found, content.decode()) == (status, f'{{"detail":"{problem}"}}')


@pytest.mark.parametrize("announced", [True, False])
def test_too_large_bodies_are_refused(port, announced):
    body = bytes(server.MAX_BYTES + 1)
    parts = body if announced else (body[start : start + 2**20] for start in range(0, len(body), 2**20))
    assert request(port, "POST", "/predict", parts) == (413, b'{"detail":"Payload too large"}')


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/predict", 405), ("GET", "/docs", 404), ("GET", "/health", 200)]
)
def test_other_addresses(port, method, path, status):
    assert request(port, method, path)[0] == status


def test_requests_at_the_same_time_get_their_own_answers(port, stylizer, picture):
    jobs = []
    for number in range(18):
        photo, style = picture(64 + 16 * (number % 2), 64, seed=number), ["udnie", "pastel", "oil"][number % 3]
        jobs.append((photo, style, b"" if number % 6 == 5 else encode(photo)))
    with ThreadPoolExecutor(len(jobs)) as pool:
        answers = list(pool.map(lambda job: request(port, "POST", f"/predict?format=png&style={job[1]}", job[2]), jobs))
    for (photo, style, body), answer in zip(jobs, answers):
        if style == "oil" or not body:
            assert answer[0] == 422
        else:
            assert np.abs(decode(answer) - np.asarray(stylizer(photo, style=style), int)).max() <= 1


class Recorder:
    """Takes the place of a stylizer, and keeps what it is given."""

    def __init__(self, *_, **options):
        self.options, self.calls = options, []

    def __call__(self, photos, **options):
        self.calls.append((photos.shape, options))
        if options["strength"] == 0.25:
            raise WorkError("no memory")
        return photos

    def warm_up(self, size):
        pass


def test_photos_of_equal_size_and_options_are_painted_together():
    api = server.StylizeAPI(max_batch_size=8)
    api.stylizer = Recorder()
    jobs = [
        (np.full((40, width, 3), number, np.uint8), {"strength": strength, "format": "png"})
        for number, (width, strength) in enumerate([(40, 1), (48, 1), (40, 1), (40, 0.5), (48, 1), (40, 0.25)])
    ]
    *answers, failed = api.predict(jobs)
    assert [shape for shape, _ in api.stylizer.calls] == [
        (2, 40, 40, 3),
        (2, 40, 48, 3),
        (1, 40, 40, 3),
        (1, 40, 40, 3),
    ]
    for answer, (photo, _) in zip(answers, jobs):
        assert (decode((answer.status_code, answer.body)) == photo).all()
    assert (failed.status_code, failed.body) == (503, b'{"detail":"no memory"}')


def test_workers_share_the_processors(monkeypatch):
    monkeypatch.setattr(server, "Stylizer", Recorder)
    monkeypatch.setattr(server, "usable_processors", lambda: 7)
    api = server.StylizeAPI()
    for workers, threads in {1: 7, 2: 3, 9: 1}.items():
        monkeypatch.setattr(server, "WORKERS", workers)
        api.setup("cpu")
        assert api.stylizer.options == {"threads": threads}


@pytest.mark.parametrize(("waiting", "status"), [(server.MAX_WAITING, 503), (0, 408)])
def test_too_many_photos_and_slow_ones_are_refused(monkeypatch, waiting, status):
    monkeypatch.setattr(server, "SECONDS", 0.05)
    app = server.build_server().app
    app.state.waiting.update(dict.fromkeys(map(str, range(waiting))))

    async def receive():
        await asyncio.sleep(5)

    with pytest.raises(HTTPException) as refused:
        asyncio.run(server.read_body(Request({"type": "http", "app": app}, receive)))
    assert refused.value.status_code == status


def test_no_torch_is_imported():
    code = "import server, sys; server.build_server(); sys.exit(bool({'torch', 'lightning'} & sys.modules.keys()))"
    path = os.pathsep.join([str(FOLDER), *filter(None, sys.path)])
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})


def test_the_load_test_prints_its_figures(running, capsys):
    port, process = running
    load(port, process, requests=20, clients=2, size=64)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "20 photos of 64x64 from 2 clients, 20 of them painted"
    rate, work = map(float, re.findall(r"[\d.]+(?= a second| ms)", lines[1]))
    median, slow = map(float, re.findall(r"\d+(?= ms)", lines[2]))
    assert 0 < median <= slow
    assert rate > 0
    assert 0 < work < 10_000
    assert len(re.findall(r" \d+", lines[3])) == 11


def test_no_process_is_left():
    with running_server() as (port, process):
        processes = [process, *process.children(recursive=True)]
        assert len(processes) > 2
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive
    with pytest.raises(ConnectionRefusedError):
        request(port, "GET", "/health")
