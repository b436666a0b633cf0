"""`stylize --engine ray`: the same pictures as those of the local engine, on a cluster of two workers."""

import os
import shutil
import socket
import sys
from functools import partial
from pathlib import PurePosixPath

import pytest
from conftest import draw
from notices import said
from PIL import Image

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")

from nst_lightning.cli import main  # noqa: E402
from nst_lightning.commands import ray_cluster, stylize_ray  # noqa: E402
from nst_lightning.commands.pictures import name_picture  # noqa: E402
from nst_lightning.commands.ray_storage import Listing, open_storage  # noqa: E402
from nst_lightning.commands.ray_workers import Found, Task  # noqa: E402
from nst_lightning.commands.stylize_photos import PhotoPainter  # noqa: E402
from nst_lightning.commands.stylize_ray import StreamReport, stylize_on_ray  # noqa: E402
from nst_lightning.commands.worker_pool import Outcome  # noqa: E402
from nst_lightning.errors import WorkError  # noqa: E402
from nst_lightning.images import PictureError, WritingOptions  # noqa: E402

pytestmark = pytest.mark.cluster
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers don't find tests


@pytest.fixture(scope="module")
def workers():
    """A cluster of two processors, as a command starts it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("RAY_ADDRESS", raising=False)
        patched.setattr(ray_cluster, "usable_processors", lambda: 2)
        with ray_cluster.cluster():
            yield


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def album(tmp_path, photos):
    """Photos in two folders; one is damaged, one is animated, one is named in Latin-1, and some are hidden."""
    folder = tmp_path / "album"
    shutil.copytree(photos, folder)
    shutil.copytree(photos, folder / ".hidden")
    (folder / "more/bad.jpg").write_text("no")
    (folder / "raw.nef").write_text("raw")
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "blue")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    if sys.platform == "linux":
        shutil.copy(photos / "photo0.jpg", os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg"))
    return folder


@pytest.fixture
def command(tmp_path, model):
    """A function that stylizes a folder with an engine, and returns the exit code."""

    def command(engine, source, output, *options):
        given = [str(source), "--output", str(output), "--engine", engine]
        return main(["stylize", *given, "--model", model, *options])

    return command


def test_pictures_and_problems_are_those_of_the_local_engine(tmp_path, workers, command, album, capsys):
    """URIs with `local:` are of fsspec, and files are fetched and stored as those of object stores."""
    options = ["--short-side", "100", "--quality", "90"]
    assert command("local", album, tmp_path / "local", *options, "--workers", "1") == 1
    problems, expected = capsys.readouterr().err.splitlines(), contents(tmp_path / "local")
    assert command("ray", album, f"local://{tmp_path}/ray", *options, "--workers", "2") == 1
    out, err = capsys.readouterr()
    assert contents(tmp_path / "ray") == expected
    assert len(expected) >= 9
    assert {*err.splitlines()} == {*problems}
    assert out == f"{len(expected)} pictures are in local://{tmp_path}/ray\n"

    for name in ("photo2.jpg", "moving.gif.png"):
        (tmp_path / "ray" / name).unlink()
    (tmp_path / "ray/more/photo3.jpg").write_text("mine")
    shutil.copy(album / "moving.gif", album / "moving.gif.png")
    assert command("ray", f"local://{album}", tmp_path / "ray", *options, "--skip-existing", "--workers", "1") == 1
    lines = capsys.readouterr().err.splitlines()
    clash = f"would be written to {tmp_path}/ray/moving.gif.png, as moving.gif"
    assert f"nst-lightning: local://{album}/moving.gif.png: {clash}" in lines
    assert f"nst-lightning: local://{album}/more/bad.jpg: not a picture that can be read" in lines
    assert f"nst-lightning: local://{album}/moving.gif: only the first of 2 frames is used" in lines
    count = len(expected)
    assert f"nst-lightning: {count - 2} of {count + 2} pictures exist already, and are kept" in lines
    assert lines[-1] == "nst-lightning: stylize: 2 of 4 photos could not be stylized, see above"
    assert contents(tmp_path / "ray") == expected | {"more/photo3.jpg": b"mine"}


class DeadlyPainter(PhotoPainter):
    """Its process ends at some photos, as if it were killed."""

    def __call__(self, job, saving):
        if job[0].name == "deadly.png":
            os._exit(9)
        return super().__call__(job, saving)


def test_a_photo_that_kills_its_workers_does_not_stop_the_others(tmp_path, workers, model, picture, capsys):
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "deadly.png", *(f"{number}.png" for number in range(8))):
        picture(40, 36).save(tmp_path / "photos" / name)
    painter = DeadlyPainter(model, 0, {"short_side": None, "strokes": 1.0}, {}, WritingOptions())
    keep = partial(name_picture, file_format="keep")
    options = {"name_picture": keep, "workers": 1, "skip_existing": False, "again": "again"}
    with pytest.raises(WorkError, match="1 of 10 photos could not be stylized"):
        stylize_on_ray(painter, str(tmp_path / "photos"), str(tmp_path / "out"), **options)
    assert len(contents(tmp_path / "out")) == 9
    problem = f"{tmp_path}/photos/deadly.png: its worker ended 2 times, perhaps for lack of memory"
    assert f"nst-lightning: {problem}\n" in capsys.readouterr().err


def test_its_speed_is_measured_beside_that_of_one_process(tmp_path, workers, model, picture, capsys):
    picture(40, 36).save(tmp_path / "photo.png")
    options = ["--long-side", "40", "--workers", "1", "--count", "3", "--rounds", "1", "--ray"]
    assert main(["evaluate", "folders", str(tmp_path / "photo.png"), "--model", model, *options]) == 0
    _, local, on_ray = capsys.readouterr().out.splitlines()
    assert on_ray.endswith("3 photos of 40x36, Ray")
    rates, faster, processes, _ = zip(*(map(float, line.split()[:4]) for line in (local, on_ray)))
    assert processes == (1, 1)
    assert faster[1] == pytest.approx(rates[1] / rates[0], rel=0.05, abs=0.006)


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [
        ("nowhere", "out", "photos: nowhere: no such folder; --engine ray takes a single folder"),
        ("photos/photo0.jpg", "out", "photos: photos/photo0.jpg: no such folder; --engine ray takes a single folder"),
        ("photos", "photos", "output: photos is the folder of photos itself or around it; choose another folder"),
        ("photos/more", ".", "output: . is the folder of photos itself or around it; choose another folder"),
        ("photos", "photos/photo0.jpg", "output: photos/photo0.jpg must be a folder, but it is a file"),
        ("nothing://photos", "out", "photos: nothing://photos: Protocol not known: nothing"),
    ],
)
def test_wrong_folders_are_refused(tmp_path, command, photos, monkeypatch, capsys, source, output, message):
    shutil.copytree(photos, tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    assert command("ray", source, output) == 2
    assert capsys.readouterr().err.replace(f"{tmp_path}/", "") == f"nst-lightning: stylize: {message}\n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["clip.mp4"], "engine must be local for a video, got 'ray'"),
        (["a", "b"], "photos must be a single folder for --engine ray, got ['a', 'b']"),
        (["a", "--steady"], "steady must be false for photos unless frames is all, got True"),
    ],
)
def test_what_the_engine_can_not_do_is_refused(tmp_path, monkeypatch, capsys, given, message):
    pytest.importorskip("av")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").write_text("no")
    assert main(["stylize", *given, "--engine", "ray"]) == 2
    assert capsys.readouterr().err == f"nst-lightning: stylize: {message}\n"


@pytest.mark.parametrize(
    ("arguments", "places"),
    [
        (["s3://bucket/photos"], "s3://bucket/photos"),
        (["s3://bucket/clip.mp4", "--output", "s3://bucket/out"], "s3://bucket/clip.mp4, s3://bucket/out"),
        (["a.png", "--output", "s3://bucket/out"], "s3://bucket/out"),
    ],
)
def test_other_places_need_the_engine(tmp_path, monkeypatch, capsys, arguments, places):
    monkeypatch.chdir(tmp_path)
    draw(40, 40).save("a.png")
    assert main(["stylize", *arguments]) == 2
    assert capsys.readouterr().err == f"nst-lightning: stylize: engine must be ray for {places}, got 'local'\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_cluster_that_does_not_answer(tmp_path, command, photos, monkeypatch, capsys):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    shutil.copytree(photos, tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    assert command("ray", "photos", "out") == 1
    assert capsys.readouterr().err == "nst-lightning: stylize: the Ray cluster can't be reached: Connection refused\n"


@pytest.fixture
def memory():
    """A folder in the memory of this process, which is as remote as an object store, and a function that fills it."""
    storage = open_storage("photos", "memory://photos")

    def fill(*names):
        for name in names:
            storage.filesystem.create_dir(str(PurePosixPath(storage.path, name).parent), recursive=True)
            with storage.filesystem.open_output_stream(f"{storage.path}/{name}") as stream:
                stream.write(b"content")
        return storage

    yield fill
    storage.filesystem.delete_dir(storage.path)


def test_remote_folders_are_searched_like_local_ones(memory):
    photos = memory("a.jpg", "in/b.png", "in/c.nef", ".d/e.jpg", "@eaDir/f.jpg", "out/g.jpg", "notes.txt")
    listing = Listing(photos, without=open_storage("output", "memory://photos/out"))
    assert [[str(photo) for photo in group] for group in listing] == [["a.jpg"], ["in/b.png"]]
    assert listing.describe_left_out().startswith("1 file left out: .nef (1): camera raw")


def test_remote_files_are_replaced_whole(tmp_path, memory):
    storage = memory("in/a.png")
    (tmp_path / "new.png").write_bytes(b"new")
    storage.store(tmp_path / "new.png", PurePosixPath("in/a.png"))
    storage.store(tmp_path / "new.png", PurePosixPath("deep/er/b.png"))
    assert storage.list_names(PurePosixPath("in")) == {"a.png"}
    assert storage.list_names(PurePosixPath("deep/er")) == {"b.png"}
    assert storage.list_names(PurePosixPath("nowhere")) == set()
    assert storage.fetch(PurePosixPath("in/a.png"), tmp_path).read_bytes() == b"new"
    with pytest.raises(PictureError, match=r"^memory://photos/gone.png: no such file$"):
        storage.fetch(PurePosixPath("gone.png"), tmp_path)
    with pytest.raises(PictureError, match=r"^memory://photos/c.png: can't be written \("):
        storage.store(tmp_path / "gone.png", PurePosixPath("c.png"))
    assert "c.png" not in storage.list_names(PurePosixPath())


@pytest.fixture
def task(tmp_path):
    return Task(open_storage("photos", "in"), open_storage("output", "out"), lambda name: name, False)


def test_problems_and_notices_of_many_photos_are_bounded(task, monkeypatch, capsys):
    monkeypatch.setattr(stylize_ray, "MOST", 2)

    def report():
        with StreamReport(task, "again") as report:
            for number in range(25):
                report.add(Outcome(f"problem {number}" if number < 3 else None, notices=[f"notice {number}"]))
            report.found = Found(25, 0, "")

    def failed_report():
        with pytest.raises(WorkError, match="3 of 25 photos"):
            report()

    _, notices = said(failed_report)
    assert notices == ["notice 0", "notice 1", "23 more photos gave such notices"]
    printed = capsys.readouterr()
    assert printed.out == "22 pictures are in out\n"
    lines = [*(f"nst-lightning: problem {number}" for number in range(3)), "nst-lightning: all problems:"]
    assert printed.err.splitlines() == [*lines, "problem 0", "problem 1", "and 1 more, see above"]


@pytest.mark.parametrize(("full", "error"), [(True, WorkError), (False, KeyboardInterrupt)])
def test_how_to_go_on_is_said_when_the_disk_is_full_or_at_ctrl_c(task, capsys, full, error):
    def report():
        with StreamReport(task, "the command") as report:
            report.add(Outcome())
            report.add(Outcome("a.png: no space", full))
            raise KeyboardInterrupt

    with pytest.raises(error):
        report()
    problem, advice = capsys.readouterr().err.splitlines()
    assert problem == "nst-lightning: a.png: no space"
    assert advice == "nst-lightning: 1 photos are done; to go on: the command"


def test_a_folder_without_pictures_is_refused(task):
    def report():
        with StreamReport(task, "again") as report:
            report.found = Found(0, 0, "1 file left out: .nef (1)")

    with pytest.raises(
        PictureError, match=r"^photos: in: no pictures in this folder or below it; 1 file left out: .nef \(1\)$"
    ):
        report()


@pytest.mark.parametrize(
    ("threads", "workers", "max_memory", "expected"),
    [
        (0, 0, None, (6, 2)),  # 10 GB are enough for six
        (4, 0, None, (4, 1)),
        (0, 4, None, (4, 3)),
        (0, 20, None, (20, 1)),
        (0, 0, 3.2e9, (2, 6)),
        (0, 0, 1e9, (1, 8)),  # a machine has no more
    ],
)
def test_processors_and_memory_of_the_cluster_are_shared_out(monkeypatch, threads, workers, max_memory, expected):
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 12.0, "memory": 10e9})
    nodes = [{"Alive": processors != 64, "Resources": {"CPU": float(processors)}} for processors in (4, 8, 64)]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    painter = PhotoPainter("styles", threads, {}, {}, WritingOptions(), max_memory)
    plan = ray_cluster.plan_for_cluster(painter, workers=workers)
    assert (plan.workers, plan.threads) == expected
