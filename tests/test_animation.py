"""Animations and files of several pages: read, painted and written frame by frame."""

import errno
import weakref
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from conftest import draw
from notices import said
from PIL import Image, ImageChops

from nst_lightning.cli import main
from nst_lightning.commands.stylize_photos import PhotoPainter
from nst_lightning.commands.worker_pool import Saving
from nst_lightning.images import (
    Animation,
    Frame,
    Picture,
    PictureError,
    WritingOptions,
    list_frames,
    open_animation,
    write_animation,
)

DURATIONS = [100, 250, 40]
OPTIONS = {"webp": {"lossless": True}, "gif": {"disposal": 2}}


def frames_of(file):
    """The frames as Pillow shows them, their durations, and what the file says about repetition."""
    with Image.open(file) as image:
        found = []
        for number in range(image.n_frames):
            image.seek(number)
            image.load()
            found.append((image.convert("RGBA"), image.info.get("duration")))
        return [frame for frame, _ in found], [duration for _, duration in found], image.info.get("loop")


def drawn(count=3, *, alpha=False, size=(48, 40)):
    """Different frames of few colors, which GIF can hold."""
    frames = []
    for seed in range(count):
        frame = draw(*size, seed).quantize(60).convert("RGBA")
        if alpha:
            frame.putalpha(
                Image.fromarray(np.uint8([[255] * (seed * 4) + [0] * 8 + [255] * (40 - seed * 4)] * size[1]))
            )
        frames.append(frame)
    return frames


def save(file, frames, *, loop=2):
    kind = file.suffix[1:]
    options = (
        {} if kind == "tif" else {"duration": DURATIONS[: len(frames)], **({} if loop is None else {"loop": loop})}
    )
    frames[0].save(file, save_all=True, append_images=frames[1:], **options, **OPTIONS.get(kind, {}))


def animation(frames, *, plays=0):
    pictures = [Picture(frame.convert("RGB"), frame.getchannel("A")) for frame in frames]
    shown = [Frame(picture, duration) for picture, duration in zip(pictures, DURATIONS)]
    return Animation(iter(shown), len(shown), plays)


def same(found, expected):
    """Whether images look the same: their alpha, and the colors that are not transparent."""
    black = Image.new("RGBA", found.size, "black")
    pair = [Image.alpha_composite(black, image) for image in (found, expected)]
    return (
        not ImageChops.difference(*pair).getbbox()
        and found.getchannel("A").tobytes() == expected.getchannel("A").tobytes()
    )


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("target", ["gif", "webp", "png"])
@pytest.mark.parametrize("source", ["gif", "webp", "png"])
def test_frames_times_and_transparency_are_kept(tmp_path, source, target, alpha):
    frames = drawn(alpha=alpha)
    save(tmp_path / f"a.{source}", frames)
    with open_animation(tmp_path / f"a.{source}") as read:
        assert read.count == len(list_frames(tmp_path / f"a.{source}")) == 3
        write_animation(tmp_path / f"out/b.{target}", read, WritingOptions(quality=100))
    found, durations, _ = frames_of(tmp_path / f"out/b.{target}")
    assert durations == DURATIONS
    assert [same(*pair) for pair in zip(found, frames, strict=True)] == [True] * 3
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"b.{target}"]


@pytest.mark.parametrize("plays", [0, 1, 2, 7])
@pytest.mark.parametrize("target", ["gif", "webp", "png"])
@pytest.mark.parametrize("source", ["gif", "webp", "png"])
def test_an_animation_is_shown_as_often(tmp_path, source, target, plays):
    repeats = None if plays == 1 else max(0, plays - 1)  # GIF counts repetitions, and has no number for none
    save(tmp_path / f"a.{source}", drawn(2), loop=repeats if source == "gif" else plays)
    with open_animation(tmp_path / f"a.{source}") as read:
        assert read.plays == plays
        write_animation(tmp_path / f"b.{target}", read)
    assert frames_of(tmp_path / f"b.{target}")[2] == (repeats if target == "gif" else plays)


def test_each_frame_of_a_gif_has_colors_of_its_own(tmp_path):
    frames = [draw(48, 40, seed) for seed in range(2)]
    write_animation(tmp_path / "a.gif", Animation(iter([Frame(Picture(frame), 50) for frame in frames]), 2))
    found = [np.asarray(frame.convert("RGB"), int) for frame in frames_of(tmp_path / "a.gif")[0]]
    assert len(np.unique(np.concatenate(found).reshape(-1, 3), axis=0)) > 256
    assert all(np.abs(pixels - frame).mean() < 8 for pixels, frame in zip(found, frames, strict=True))


@pytest.mark.parametrize("target", ["gif", "webp", "png", "tif"])
def test_only_one_frame_is_in_memory(tmp_path, target):
    alive = []

    def frames():
        for seed in range(6):
            picture = Picture(draw(48, 40, seed))
            alive.append(weakref.ref(picture))
            yield Frame(picture, 40)
            del picture
            assert sum(each() is not None for each in alive) <= 2  # the one before is being replaced

    write_animation(tmp_path / f"a.{target}", Animation(frames(), 6))
    assert len(list_frames(tmp_path / f"a.{target}")) == len(alive) == 6


def test_pages_may_have_any_size(tmp_path):
    pages = [draw(48 + 8 * seed, 40, seed) for seed in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], dpi=(150, 75))
    with open_animation(tmp_path / "a.tif") as read:
        write_animation(tmp_path / "b.tif", read)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert [page.asarray().tobytes() for page in file.pages] == [page.tobytes() for page in pages]
    with Image.open(tmp_path / "b.tif") as image:
        assert image.info["dpi"] == (150, 75)
    for ending in ("gif", "png", "webp"):
        problem = r"all frames of a \w+ have one size, got 56x40 after 48x40; \.tif can hold pages of any size"
        with open_animation(tmp_path / "a.tif") as read, pytest.raises(PictureError, match=problem):
            write_animation(tmp_path / f"out/b.{ending}", read)
    assert not (tmp_path / "out").exists()


def test_previews_and_fallbacks_are_no_frames(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for kind in (0, 1, 0):  # a page, its preview, and another page
            file.write(np.asarray(draw(48, 40, kind)), photometric="rgb", subfiletype=kind)
    frames = drawn(3)
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], default_image=True)
    assert [*list_frames(tmp_path / "a.tif")] == [0, 2]
    assert [*list_frames(tmp_path / "a.png")] == [1, 2]
    with open_animation(tmp_path / "a.png") as read:
        assert [frame.picture.image.tobytes() for frame in read.frames] == [
            frame.convert("RGB").tobytes() for frame in frames[1:]
        ]


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tif"])
def test_truncated_files_leave_nothing(tmp_path, ending):
    save(tmp_path / f"a.{ending}", drawn())
    content = (tmp_path / f"a.{ending}").read_bytes()
    (tmp_path / f"a.{ending}").write_bytes(content[: len(content) * 3 // 4])
    damaged = pytest.raises(PictureError, match=f"a.{ending}: can't be read")
    with damaged, open_animation(tmp_path / f"a.{ending}") as read:
        write_animation(tmp_path / f"out/b.{ending}", read)
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{ending}"]


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tif"])
def test_a_full_disk_leaves_nothing(tmp_path, ending):
    def frames():
        yield from animation(drawn(1)).frames
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_animation(tmp_path / f"out/b.{ending}", replace(animation(drawn()), frames=frames()))
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tif"])
def test_a_process_that_has_to_end_gives_up_a_long_animation(tmp_path, model, monkeypatch, ending):
    asked = []

    def end_at_the_third() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise SystemExit

    write_animation(tmp_path / "a.gif", animation(drawn()))
    saving = Saving()
    monkeypatch.setattr(saving, "go_on", end_at_the_third)
    painter = PhotoPainter(model, 1, {"short_side": None}, {}, WritingOptions(), frames="all")
    with pytest.raises(SystemExit):
        painter((tmp_path / "a.gif", tmp_path / f"out/a.{ending}"), saving)
    assert len(asked) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]


def test_frames_of_one_file_need_a_format_that_holds_them(tmp_path):
    with pytest.raises(PictureError, match=r"a\.jpg: can't hold several frames; endings allowed: \.gif, "):
        write_animation(tmp_path / "a.jpg", animation(drawn()))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_command_paints_all_frames_as_it_paints_photos(tmp_path, many_model, capsys, workers):
    frames, source = drawn(alpha=True), tmp_path / "photos"
    source.mkdir()
    save(source / "a.png", frames)
    save(source / "b.webp", frames)
    frames[1].save(source / "still.png")
    out = ["--output", str(tmp_path / "out"), "--model", many_model, "--workers", workers]
    assert main(["stylize", str(source), "--frames", "all", *out]) == 0
    assert not capsys.readouterr().err
    expected = Image.open(tmp_path / "out/still.png")
    for name in ("a.png", "b.webp"):
        painted, durations, loop = frames_of(tmp_path / "out" / name)
        assert (durations, loop) == (DURATIONS, 2)
        difference = ImageChops.difference(painted[1].convert("RGB"), expected.convert("RGB"))
        assert np.asarray(difference).mean() < (1 if name == "a.png" else 4)
        assert painted[1].getchannel("A").tobytes() == expected.getchannel("A").tobytes()


@pytest.mark.parametrize(
    ("options", "written"),
    [([], "a.gif"), (["--format", "webp"], "a.webp"), (["--format", "gif"], "a.gif"), (["--steady"], "a.gif")],
)
def test_the_command_names_files_by_their_format(tmp_path, model, options, written):
    save(tmp_path / "a.gif", drawn())
    arguments = ["--frames", "all", "--model", model, "--output", str(tmp_path / "out"), *options]
    assert main(["stylize", str(tmp_path / "a.gif"), *arguments]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == [written]
    assert len(list_frames(tmp_path / "out" / written)) == 3


def test_steady_frames_flicker_less(tmp_path, model):
    random = np.random.default_rng(0)
    still = np.asarray(draw(96, 96), float)
    frames = [Image.fromarray((still + random.normal(0, 3, still.shape)).clip(0, 255).astype(np.uint8)) for _ in "1234"]
    save(tmp_path / "a.png", frames[:3])
    changes = []
    for options in ([], ["--steady"]):
        out = tmp_path / f"out{len(options)}.png"
        arguments = ["--frames", "all", "--model", model, "--output", str(out), *options]
        assert main(["stylize", str(tmp_path / "a.png"), *arguments]) == 0
        first, second, _ = (np.asarray(frame, float) for frame in frames_of(out)[0])
        changes.append(np.abs(first - second).mean())
    assert changes[1] < changes[0] / 2


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["--format", "gif"], 2, "format must be keep, jpg, png, webp or tif unless frames is all, got 'gif'"),
        (["--output", "b.gif"], 2, "b.gif: this kind of file is written only if frames is all"),
        (["--steady"], 2, "steady must be false for photos unless frames is all, got True"),
        (["--frames", "all", "--format", "jpg"], 1, "out/a.jpg: can't hold several frames; endings allowed: .gif"),
        (["--frames", "some"], 2, "frames"),
    ],
)
def test_wrong_requests_leave_nothing(tmp_path, monkeypatch, model, capsys, arguments, code, problem):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "a.gif", drawn())
    output = [] if "--output" in arguments else ["--output", "out"]
    assert said(main, ["stylize", "a.gif", "--model", model, *arguments, *output])[0] == code
    assert problem in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]
