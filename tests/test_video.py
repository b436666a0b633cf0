"""Videos, which are made here with PyAV: what `stylize` keeps of them, and what it refuses."""

import os
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import draw
from PIL import Image
from test_extras import run_command

from nst_lightning.cli import main

if sys.version_info < (3, 11):
    pytest.skip("PyAV 18 needs Python 3.11", allow_module_level=True)

import av

from nst_lightning.inference.video import paint_video

RATE = 8
REGULAR = [i * 100 for i in range(16)]
"""Times of frames, in units of 1/800 s: two seconds."""


def write_clip(
    path, *, size=(96, 64), times=REGULAR, sound=None, rotation=0, colors=(1, 1), noise=0, ratio=1, **metadata
):
    """A clip of a drawn picture, whose upper left quarter is red; with noise, in levels of 255, if asked for."""
    random = np.random.default_rng(0)
    image = draw(*size)
    image.paste((200, 20, 30), (0, 0, size[0] // 2, size[1] // 2))
    with av.open(str(path), "w") as output:
        output.metadata.update(metadata)
        stream = output.add_stream("libx264", rate=RATE, options={"crf": "4"})
        stream.width, stream.height = size
        context = stream.codec_context
        context.pix_fmt = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
        context.time_base, context.sample_aspect_ratio = Fraction(1, 800), Fraction(ratio)
        matrix, context.color_range = colors
        context.colorspace = context.color_primaries = context.color_trc = matrix
        if rotation:
            stream.set_display_rotation(rotation)
        voice = output.add_stream(sound, rate=48000, layout="mono") if sound else None
        for pts in times:
            pixels = (np.asarray(image) + random.normal(0, noise, (*size[::-1], 3))).clip(0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels).reformat(
                format=context.pix_fmt, dst_colorspace=matrix, dst_color_range=context.color_range
            )
            frame.pts, frame.time_base = pts, context.time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
        if voice:
            tone = (8000 * np.sin(np.arange(96000) / 20)).astype(np.int16)[None]
            for start in range(0, 96000, 4800):
                samples = av.AudioFrame.from_ndarray(tone[:, start : start + 4800], "s16", "mono")
                samples.sample_rate, samples.pts = 48000, start
                output.mux(voice.encode(samples))
            output.mux(voice.encode())
    return path


def read_frames(path):
    with av.open(str(path)) as video:
        return list(video.decode(video.streams.video[0]))


def packets_of_sound(path):
    with av.open(str(path)) as video:
        (stream,) = video.streams.audio
        return stream.codec_context.codec.canonical_name, [bytes(p) for p in video.demux(stream) if p.size]


def stylize(*arguments):
    return main(["stylize", *map(str, arguments)])


def files_below(folder):
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm"])
def test_times_are_kept_even_if_they_are_irregular(tmp_path, ending):
    times = [0, 100, 230, 240, 600, 777]
    clip = write_clip(tmp_path / "clip.mkv", times=times)
    expected = [float(frame.time) for frame in read_frames(clip)]
    assert expected == pytest.approx([pts / 800 for pts in times], abs=0.001)
    done = []
    paint_video(clip, tmp_path / f"out.{ending}", lambda image: image, report=lambda *counts: done.append(counts))
    assert [float(frame.time) for frame in read_frames(tmp_path / f"out.{ending}")] == pytest.approx(
        expected, abs=0.001
    )
    assert [count for count, _ in done] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("colors", [(1, 1), (1, 2), (5, 1), (6, 2), (9, 1)])
def test_colors_are_kept(tmp_path, colors):
    clip = write_clip(tmp_path / "clip.mp4", colors=colors)
    paint_video(clip, tmp_path / "out.mp4", lambda image: image)
    before, after = read_frames(clip)[8], read_frames(tmp_path / "out.mp4")[8]
    for name in ("colorspace", "color_range", "color_primaries", "color_trc"):
        assert getattr(after, name) == getattr(before, name), name
    assert (after.colorspace, after.color_range) == colors
    luma = [np.asarray(frame.to_ndarray()[:64], int) for frame in (before, after)]  # of planes one above the other
    assert np.abs(luma[0] - luma[1]).mean() < 1.5


@pytest.mark.parametrize("colors", [(1, 1), (1, 2), (6, 1)])
def test_painters_see_the_colors(tmp_path, colors):
    seen = []
    clip = write_clip(tmp_path / "clip.mp4", colors=colors)
    paint_video(clip, tmp_path / "out.mp4", lambda image: seen.append(image) or image)
    np.testing.assert_allclose(seen[0].getpixel((20, 15)), (200, 20, 30), atol=4)


@pytest.mark.parametrize(("ending", "size"), [("mp4", (94, 62)), ("webm", (95, 63))])
def test_odd_sizes(tmp_path, ending, size):
    paint_video(write_clip(tmp_path / "clip.mkv", size=(95, 63)), tmp_path / f"out.{ending}", lambda image: image)
    frames = read_frames(tmp_path / f"out.{ending}")
    assert {(frame.width, frame.height) for frame in frames} == {size}
    assert len(frames) == 16


@pytest.mark.parametrize(("rotation", "corner"), [(90, (15, 75)), (180, (75, 45)), (-90, (45, 20))])
def test_rotated_videos_come_out_upright(tmp_path, rotation, corner):
    clip = write_clip(tmp_path / "clip.mp4", rotation=rotation)
    assert read_frames(clip)[0].rotation in (rotation, -rotation)
    paint_video(clip, tmp_path / "out.mp4", lambda image: image)
    frame = read_frames(tmp_path / "out.mp4")[0]
    assert frame.rotation == 0
    assert (frame.width, frame.height) == ((96, 64) if rotation == 180 else (64, 96))
    np.testing.assert_allclose(frame.to_image().getpixel(corner), (200, 20, 30), atol=12)


@pytest.mark.parametrize(("rotation", "expected"), [(0, Fraction(4, 3)), (90, Fraction(3, 4))])
def test_pixels_that_are_not_square_stay_so(tmp_path, rotation, expected):
    clip = write_clip(tmp_path / "clip.mp4", ratio=Fraction(4, 3), rotation=rotation)
    paint_video(clip, tmp_path / "out.mp4", lambda image: image)
    with av.open(str(tmp_path / "out.mp4")) as video:
        assert video.streams.video[0].sample_aspect_ratio == expected


@pytest.mark.parametrize(("ending", "sound"), [("mp4", "aac"), ("mov", "aac"), ("mkv", "libopus"), ("webm", "libopus")])
def test_sound_is_copied(tmp_path, ending, sound):
    clip = write_clip(tmp_path / "clip.mkv", sound=sound)
    paint_video(clip, tmp_path / f"out.{ending}", lambda image: image)
    assert packets_of_sound(tmp_path / f"out.{ending}") == packets_of_sound(clip)


def test_sound_that_the_container_does_not_take_is_converted(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", sound="aac")
    paint_video(clip, tmp_path / "out.webm", lambda image: image)
    name, _ = packets_of_sound(tmp_path / "out.webm")
    assert name == "opus"
    with av.open(str(tmp_path / "out.webm")) as video:
        samples = np.concatenate([frame.to_ndarray()[0] for frame in video.decode(audio=0)])
    assert len(samples) / 48000 == pytest.approx(2, abs=0.1)
    spectrum = np.abs(np.fft.rfft(samples[24000:72000]))
    assert spectrum.argmax() == pytest.approx(48000 / 20 / (2 * np.pi), abs=2)  # in Hertz, of one second


@pytest.mark.parametrize(
    ("kept", "expected"), [("keep", {"title", "location"}), ("no-location", {"title"}), ("none", set())]
)
def test_metadata(tmp_path, kept, expected):
    clip = write_clip(tmp_path / "clip.mp4", title="Sea", location="+59.9+030.3/")
    paint_video(clip, tmp_path / "out.mp4", lambda image: image, metadata=kept)
    with av.open(str(tmp_path / "out.mp4")) as video:
        assert {"title", "location"} & video.metadata.keys() == expected


def test_quality_makes_files_larger(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4")
    sizes = []
    for quality in (1, 50, 95):
        paint_video(clip, tmp_path / "out.mp4", lambda image: image, quality=quality)
        sizes.append((tmp_path / "out.mp4").stat().st_size)
    assert sizes == sorted(set(sizes))


def test_command_paints_frames_as_it_paints_photos(tmp_path, many_model, capsys):
    clip = write_clip(tmp_path / "clip.mp4", times=REGULAR[:4])
    options = ["--model", many_model, "--short-side", "48", "--strength", "0.5", "--quality", "100"]
    assert stylize(clip, *options, "--output", tmp_path / "new/out.mp4") == 0
    shown = capsys.readouterr()
    assert shown.out == f"{tmp_path / 'new/out.mp4'}\n"
    assert "4 of 4 frames, " in shown.err
    assert shown.err.endswith(" frames per second\n")
    read_frames(clip)[2].to_image().save(tmp_path / "frame.png")
    assert stylize(tmp_path / "frame.png", *options, "--output", tmp_path / "picture.png") == 0
    frame = read_frames(tmp_path / "new/out.mp4")[2].to_image()
    with Image.open(tmp_path / "picture.png") as picture:
        assert frame.size == picture.size == (72, 48)
        assert np.abs(np.asarray(frame, int) - np.asarray(picture, int)).mean() < 6  # colors have half the size


def test_videos_among_photos_are_left_out(tmp_path, monkeypatch, model, capsys):
    monkeypatch.chdir(tmp_path)
    write_clip(Path("clip.mp4"), times=REGULAR[:1])
    draw(40, 40).save("photo.png")
    assert stylize(".", "--model", model) == 0
    assert "1 file left out: .mp4 (1): video, which `stylize` paints if it is given alone" in capsys.readouterr().err
    assert stylize("clip.mp4", "photo.png", "--model", model) == 1
    assert "clip.mp4: can't be read: video, which `stylize` paints if it is given alone" in capsys.readouterr().err
    assert files_below(tmp_path / "out") == ["photo.png"]


@pytest.mark.parametrize(("name", "written"), [("clip.mkv", "clip.mkv"), ("clip.avi", "clip.avi.mp4")])
def test_command_writes_to_folders(tmp_path, model, name, written):
    clip = write_clip(tmp_path / name, times=REGULAR[:3])
    assert stylize(clip, "--model", model, "--output", tmp_path / "out") == 0
    assert files_below(tmp_path / "out") == [written]
    assert len(read_frames(tmp_path / "out" / written)) == 3


def test_a_video_that_is_there_already_is_kept_if_asked_for(tmp_path, model, capsys):
    clip, made = write_clip(tmp_path / "clip.mp4", times=[0, 100]), tmp_path / "made.mp4"
    made.write_text("mine")
    request = ["stylize", str(clip), "--model", model, "--output", str(made)]
    assert main([*request, "--skip-existing"]) == 0
    assert made.read_text() == "mine"
    assert "1 of 1 pictures exist already, and are kept" in capsys.readouterr().err
    assert main(request) == 0
    assert len(read_frames(made)) == 2


def test_steady_videos_flicker_less(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", times=REGULAR[:5], noise=5)
    flicker = []
    for steady in ("false", "true"):
        options = ["--style", "great_wave", "--steady", steady, "--quality", "100", "--output", tmp_path / "out.mp4"]
        assert stylize(clip, *options) == 0
        frames = [np.asarray(frame.to_image(), int)[12:-12, 12:-12] for frame in read_frames(tmp_path / "out.mp4")]
        flicker.append(np.mean([np.abs(frame - frames[0]).mean() for frame in frames]))
    assert flicker[1] < flicker[0] / 2


def empty(path):
    path.touch()


def text(path):
    path.write_text("not a video")


def no_frames(path):
    with av.open(str(path), "w") as output:
        voice = output.add_stream("aac", rate=48000, layout="mono")
        stream = output.add_stream("libx264", rate=RATE)
        stream.width = stream.height = 64
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.int16), "s16", "mono")
        samples.sample_rate = 48000
        output.mux(voice.encode(samples))
        output.mux([*voice.encode(), *stream.encode()])


def sound_alone(path):
    with av.open(str(path), "w") as output:
        voice = output.add_stream("aac", rate=48000, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.int16), "s16", "mono")
        samples.sample_rate = 48000
        output.mux([*voice.encode(samples), *voice.encode()])


def truncated(path):
    write_clip(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def tiny(path):
    write_clip(path, size=(16, 16))


@pytest.mark.parametrize(
    ("make", "ending", "problem"),
    [
        (empty, "mp4", "is empty"),
        (text, "mp4", "not a video that can be read, or truncated"),
        (truncated, "mp4", "not a video that can be read, or truncated"),
        (truncated, "mkv", r"damaged or truncated.*"),
        (no_frames, "mkv", "has no frames"),
        (sound_alone, "mp4", "has no video, only audio"),
        (tiny, "mp4", "a photo of 16x16 is too small: at least 32x32 pixels"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_bad_videos_are_refused_in_one_line(tmp_path, model, capsys, make, ending, problem):
    clip = tmp_path / f"clip.{ending}"
    make(clip)
    assert stylize(clip, "--model", model, "--output", tmp_path / "out/new.mp4") == 1
    *progress, line = capsys.readouterr().err.splitlines()
    assert len(progress) <= 1
    assert re.fullmatch(f"nst-lightning: stylize: .*clip.{ending}: {problem}", line), line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ["clip.mp4", "--output", "out.avi"],
            "out.avi: can't write this kind of video; endings allowed: .mp4, ",
        ),
        (["clip.mp4", "--output", "out.png"], "output: out.png: can't write this kind of video"),
        (["clip.mp4", "--output", "clip.mp4"], "output: clip.mp4 would overwrite the input clip.mp4"),
        (["clip.mp4", "--format", "png"], "format must be keep for a video"),
        (["missing.mp4"], "photos: no such file: missing.mp4"),
        (["photo.png", "--steady"], "steady must be false for photos unless frames is all, got True"),
        (["photo.png", "--output", "out.mp4"], "output: out.mp4: can't write this kind of file"),
    ],
)
def test_wrong_requests(tmp_path, monkeypatch, model, capsys, arguments, problem):
    monkeypatch.chdir(tmp_path)
    Path("clip.mp4").write_bytes(b"a video")
    draw(40, 40).save("photo.png")
    assert stylize(*arguments, "--model", model) == 2
    assert problem in capsys.readouterr().err
    assert files_below(tmp_path) == ["clip.mp4", "photo.png"]


def test_names_that_libav_takes_for_protocols(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = Path("concat:a|b.mp4") if os.name != "nt" else Path("concat.mp4")
    write_clip(tmp_path / "clip.mp4", times=REGULAR[:2]).rename(tmp_path / name)
    assert paint_video(name, Path("http:out.mp4") if os.name != "nt" else Path("out.mp4"), lambda image: image) == 2


def test_command_says_which_extra_it_needs(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", times=REGULAR[:1])
    done = run_command("stylize", clip, "--output", tmp_path / "out.mp4")
    assert done.returncode == 2
    assert done.stderr == 'nst-lightning: stylize needs av: pip install "nst-lightning[video]"\n'


@pytest.mark.skipif(os.name == "nt", reason="sends Ctrl-C")
def test_an_interrupted_video_leaves_nothing(tmp_path, model):
    clip = write_clip(tmp_path / "clip.mp4", times=range(0, 400_000, 100))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "nst_lightning", "stylize", clip, "--model", model, "--output", out / "a.mp4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not [*out.rglob("*.mp4")]:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        shown = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in shown[1]
    assert files_below(out) == []
