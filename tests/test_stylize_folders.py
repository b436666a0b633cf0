"""`stylize` of folders: several processes, progress, interruptions, and what goes wrong half-way."""

import contextlib
import errno
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from PIL import Image

from nst_lightning.cli import main
from nst_lightning.commands import folder_progress, stylize_photos
from nst_lightning.commands.folder_progress import FolderProgress
from nst_lightning.commands.stylize_photos import PhotoPainter, plan_workers
from nst_lightning.images import WritingOptions

needs_signals = pytest.mark.skipif(os.name == "nt", reason="Windows can't send these signals")


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def command(tmp_path, photos, model):
    """A function that stylizes the photos into a folder."""

    def command(*options, source=photos, output="out"):
        return main(["stylize", str(source), "--model", model, "--output", str(tmp_path / output), *options])

    return command


@pytest.fixture
def on_save(monkeypatch):
    """A function that lets something happen when a picture, counted from 1, is about to be written."""
    save, count = Image.Image.save, []

    def on_save(number, action):
        def saving(image, path, **options):
            count.append(path)
            if len(count) == number:
                action()
            save(image, path, **options)

        monkeypatch.setattr(Image.Image, "save", saving)

    yield on_save
    monkeypatch.setattr(Image.Image, "save", save)


def test_several_processes_write_and_print_the_same(tmp_path, command, photos, capsys):
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    (folder / "more/bad.jpg").write_text("no")
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "blue")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    printed = []
    for workers in "12":
        assert command("--workers", workers, source=folder, output=workers) == 1
        out, err = capsys.readouterr()
        printed.append((out.replace(f"{tmp_path / workers}", ""), err))
    assert printed[0] == printed[1]
    assert "moving.gif: only the first of 2 frames is used" in printed[1][1]
    assert "bad.jpg: not a picture" in printed[1][1]
    assert printed[1][1].endswith("stylize: 1 of 10 photos could not be stylized, see above\n")
    assert len(printed[1][0].splitlines()) == 9
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert len(contents(tmp_path / "2")) == 9


@pytest.mark.parametrize("workers", ["1", "2"])
def test_existing_pictures_are_kept(tmp_path, command, capsys, workers):
    options = ["--skip-existing", "--workers", workers]
    assert command() == 0
    expected = contents(tmp_path / "out")
    for name in ("photo0.jpg", "more/photo3.jpg", "photo6.jpg"):
        (tmp_path / "out" / name).unlink()
    (tmp_path / "out/photo2.jpg").write_text("mine")
    capsys.readouterr()
    assert command(*options) == 0
    out, err = capsys.readouterr()
    assert [Path(line).name for line in out.splitlines()] == ["photo3.jpg", "photo0.jpg", "photo6.jpg"]
    assert err == "nst-lightning: 5 of 8 pictures exist already, and are kept\n"
    assert contents(tmp_path / "out") == expected | {"photo2.jpg": b"mine"}
    assert command(*options) == 0
    assert capsys.readouterr().out == ""


@needs_signals
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_the_printed_command_goes_on(tmp_path, command, on_save, capsys, name):
    assert command("--quality", "80", output="whole") == 0
    on_save(4, lambda: os.kill(os.getpid(), getattr(signal, name)))
    capsys.readouterr()
    assert command("--quality", "80") == 128 + getattr(signal, name)
    (line,) = capsys.readouterr().err.splitlines()
    about, again = line.split("; to go on: ")
    assert about == "nst-lightning: 3 of 8 photos are done"
    assert len(contents(tmp_path / "out")) == 3
    words = shlex.split(again)
    assert words[:4] == ["python", "-m", "nst_lightning", "stylize"]
    assert main(words[3:]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@needs_signals
def test_earlier_pictures_are_not_taken_for_those_of_an_interrupted_run(command, on_save, capsys):
    assert command() == 0
    on_save(4, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert command("--quality", "80") == 130
    kept = "5 of the others have earlier pictures, which --skip-existing would keep"
    assert capsys.readouterr().err == f"nst-lightning: 3 of 8 photos are done; {kept}\n"


def is_alive(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@needs_signals
def test_ctrl_c_ends_all_processes_and_leaves_no_half_picture(tmp_path, model, picture):
    (tmp_path / "photos").mkdir()
    for number in range(40):
        picture(300, 300, seed=number).save(tmp_path / f"photos/{number:02}.png")
    command = ["stylize", "photos", "--model", model, "--output", "out", "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "nst_lightning", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )
    first = process.stdout.readline()
    others = psutil.Process(process.pid).children()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(errors.splitlines()) == 1
    assert "python -m nst_lightning stylize photos" in errors
    assert len(others) >= 2
    until = time.monotonic() + 30
    while any(map(is_alive, others)):  # multiprocessing's own process ends just after the workers
        assert time.monotonic() < until, others
        time.sleep(0.01)
    written = list((tmp_path / "out").rglob("*"))
    assert {f"out/{path.name}" for path in written} >= {*(first + rest).splitlines()}
    assert all(path.suffix == ".png" for path in written)
    assert len(written) < 40
    for path in written:
        Image.open(path).load()


def test_a_full_disk_stops(tmp_path, command, on_save, capsys):
    def fail():
        raise OSError(errno.ENOSPC, "No space left on device")

    on_save(3, fail)
    assert command() == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == len(contents(tmp_path / "out")) == 2
    problem, advice, end = err.splitlines()
    assert problem.endswith("photo5.jpg can't be written: No space left on device")
    assert advice.startswith("nst-lightning: 2 of 8 photos are done; to go on: python")
    assert end == "nst-lightning: stylize: the disk is full"


def test_a_photo_that_vanishes_is_named(tmp_path, command, photos, on_save, capsys):
    shutil.copytree(photos, tmp_path / "photos")
    on_save(1, (tmp_path / "photos/photo4.jpg").unlink)
    assert command(source=tmp_path / "photos") == 1
    assert f"{tmp_path}/photos/photo4.jpg: no such file\n" in capsys.readouterr().err
    assert len(contents(tmp_path / "out")) == 7


def test_a_bug_is_not_taken_for_a_bad_photo(command, on_save):
    on_save(2, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        command()


def test_the_problems_of_many_photos_are_listed_at_the_end(tmp_path, command, picture, capsys):
    (tmp_path / "photos").mkdir()
    for number in range(22):
        picture(32, 32).save(tmp_path / f"photos/{number:02}.png")
    (tmp_path / "photos/03.png").write_text("no")
    (tmp_path / "photos/12.png").write_text("no")
    assert command(source=tmp_path / "photos") == 1
    problems = [f"{tmp_path}/photos/{name}.png: not a picture that can be read" for name in ("03", "12")]
    end = "nst-lightning: stylize: 2 of 22 photos could not be stylized, see above"
    early = [f"nst-lightning: {problem}" for problem in problems]
    assert capsys.readouterr().err.splitlines() == [*early, "nst-lightning: all problems:", *problems, end]


@pytest.mark.parametrize(
    ("given", "threads", "count", "each", "free", "expected"),
    [
        (0, 0, 7, 1, 100, (1, 0)),  # too few photos
        (0, 0, 16, 1, 100, (2, 4)),
        (0, 0, 1000, 1, 100, (8, 1)),
        (0, 3, 1000, 1, 100, (3, 1)),
        (0, 1, 1000, 1, 100, (1, 1)),
        (0, 0, 1000, 10, 40, (3, 2)),  # 80 % of 40 are for three
        (0, 0, 1000, 50, 40, (1, 0)),
        (5, 0, 1000, 50, 40, (5, 1)),
        (20, 0, 1000, 1, 100, (20, 1)),
        (20, 0, 4, 1, 100, (4, 2)),
        (1, 6, 1000, 1, 100, (1, 6)),
    ],
)
def test_photos_are_shared_out_over_processors_and_memory(monkeypatch, given, threads, count, each, free, expected):
    monkeypatch.setattr(stylize_photos, "usable_processors", lambda: 8)
    monkeypatch.setattr(stylize_photos, "available_memory", lambda: free)
    painter = SimpleNamespace(
        stylizer=SimpleNamespace(providers=["cpu"]),
        threads=threads,
        max_memory=None,
        estimate_memory=lambda job: each if job[0].name == "large" else 0.1,
    )
    jobs = [(Path("large" if number == 0 else "small"), Path("picture")) for number in range(count)]
    plan = plan_workers(painter, jobs, workers=given)
    assert (plan.workers, plan.threads) == expected
    assert plan.max_memory == pytest.approx(0.8 * free)


def test_a_gpu_is_not_shared_unless_asked_for(monkeypatch):
    monkeypatch.setattr(stylize_photos, "usable_processors", lambda: 8)
    stylizer, jobs = SimpleNamespace(providers=["cuda", "cpu"]), [(Path("a"), Path("b"))] * 100
    painter = SimpleNamespace(stylizer=stylizer, threads=0, max_memory=None, estimate_memory=lambda job: 0.1)
    assert [plan_workers(painter, jobs, workers=given).workers for given in (0, 2)] == [1, 2]


def test_memory_is_estimated_from_sizes(tmp_path, model, many_model, picture):
    picture(400, 200).save(tmp_path / "large.png")
    picture(200, 100).save(tmp_path / "small.png")
    (tmp_path / "bad.png").write_text("no")

    def estimate(name, short_side=None, model=model):
        painter = PhotoPainter(model, 1, {"short_side": short_side, "strokes": 1.0}, {}, WritingOptions())
        return painter.estimate_memory((tmp_path / name, tmp_path))

    least = estimate("bad.png")
    assert least > 1e7
    assert estimate("large.png") - least == pytest.approx(4 * (estimate("small.png") - least))
    assert estimate("small.png") < estimate("large.png", 100) < estimate("large.png", 101) < estimate("large.png")
    assert least < estimate("large.png", model=many_model) < estimate("large.png")


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(folder_progress.time, "perf_counter", lambda: clock.now)
    return clock


@pytest.mark.parametrize(
    ("times", "lines"),
    [
        ([1, 2, 3, 29], []),
        (
            [20, 31, 60, 62],
            ["photos 2/4   50%  0.0645/s  31 s left", "photos 4/4  100%  0.0645/s  0 s left"],
        ),
        ([10, 20, 25, 100], ["photos 4/4  100%  0.04/s  0 s left"]),
    ],
)
def test_progress_in_a_log_file_is_a_line_now_and_then(clock, capsys, times, lines):
    progress = FolderProgress(4)
    for seconds in times:
        clock.now = 1000.0 + seconds
        progress.advance()
        progress.clear()
    assert capsys.readouterr().err.splitlines() == lines


def test_progress_on_a_terminal_is_a_bar(clock, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "70")
    progress = FolderProgress(4, unit="pictures")
    clock.now += 0.5
    progress.advance()
    line = "pictures 1/4   25%  [######..................]  2/s  2 s left"
    assert capsys.readouterr().err == f"\r{line:<69}"
    progress.clear()
    assert capsys.readouterr().err == f"\r{'':69}\r"
    progress.clear()
    assert capsys.readouterr().err == ""
