import numpy as np
import pytest
from conftest import draw
from PIL import Image
from test_steady import cut, scene
from test_video import write_clip

from nst_lightning.cli import main
from nst_lightning.encoders import CompactEncoder, image_to_tensor
from nst_lightning.images import read_rgb, resize_short_side
from nst_lightning.inference import Stylizer
from nst_lightning.inference.flicker import LARGEST_SHIFT, NOISE, measure_clip, measure_shaken, shake
from nst_lightning.metrics import SHORT_SIDE, Evaluator


def test_shaken_photos_differ_by_their_noise():
    photo = draw(120, 90)
    frames, shifts = shake(photo, 6, seed=1)
    assert {frame.size for frame in frames} == {(120 - 2 * LARGEST_SHIFT, 90 - 2 * LARGEST_SHIFT)}
    assert shifts[0] == (0, 0)
    assert len({*shifts}) > 3
    whole = np.asarray(photo, int)
    np.testing.assert_array_equal(np.asarray(frames[0]), whole[4:-4, 4:-4])
    for frame, (down, right) in zip(frames[1:], shifts[1:]):
        noise = np.asarray(frame, int) - whole[4 - down : 86 - down, 4 - right : 116 - right]
        assert noise.std() == pytest.approx(NOISE, rel=0.15)  # clipped in places
    assert measure_shaken(frames, shifts) == pytest.approx(NOISE, rel=0.15)
    assert shake(photo, 6, seed=1)[0][3].tobytes() == frames[3].tobytes()
    assert shake(photo, 6, seed=2)[0][3].tobytes() != frames[3].tobytes()


def test_flicker_of_shaken_pictures():
    pictures = [Image.new("RGB", (64, 48), (100, 100, 100 + level)) for level in (0, 30, 60)]
    expected = np.sqrt((30**2 + 60**2) / 2 / 3)
    assert measure_shaken(pictures, [(0, 0), (3, -2), (1, 4)]) == pytest.approx(expected)


def test_flicker_of_clips():
    frames = [cut(scene(), 60 + 2 * step, 40 - step) for step in range(4)]
    moved, others = ([cut(scene(1 + step * each), 60 + 2 * step, 40 - step) for step in range(4)] for each in (0, 1))
    assert measure_clip(frames, frames) < 4
    assert measure_clip(frames, moved) < 6
    assert measure_clip(frames, others) > 40
    assert measure_clip([Image.new("RGB", frames[0].size, color) for color in ("red", "blue")], others[:2]) == 0


@pytest.fixture
def options(tmp_path, model, compact_weights):
    draw(150, 130, seed=3).save(tmp_path / "ink.png")
    yardstick = ["--vgg19", "null", "--compact", compact_weights]
    return [model, "--paintings", str(tmp_path / "ink.png"), "--paint-short-side", "64", *yardstick]


def table(capsys):
    """Flicker, content and style, by the kind of pictures."""
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    return {label: (float(flicker), float(content), float(style)) for _, label, flicker, _, content, style, *_ in rows}


def test_command_prints_flicker_and_style(tmp_path, model, options, photos, compact_weights, capsys):
    photo = str(photos / "photo0.jpg")
    assert main(["evaluate", "flicker", *options, "--photos", photo, "--frames", "3"]) == 0
    found = table(capsys)
    frames, shifts = shake(resize_short_side(read_rgb(photo), 64 + 8), 3)
    pictures = [Stylizer(model)(frame) for frame in frames]
    evaluator = Evaluator(CompactEncoder(compact_weights), image_to_tensor(read_rgb(tmp_path / "ink.png")))
    assert evaluator.short_side == SHORT_SIDE
    for label, shown in (("photos", frames), ("network", pictures)):
        content, style, *_ = evaluator.measure(image_to_tensor(shown[-1]), image_to_tensor(frames[-1]))[0].tolist()
        flicker = measure_shaken(shown, shifts)
        assert found[label] == pytest.approx((flicker, content, style), abs=0.051)
    assert found["steady"][0] < found["network"][0]


def test_command_measures_videos(tmp_path, options, capsys):
    clip = write_clip(tmp_path / "clip.mp4", noise=8)
    assert main(["evaluate", "flicker", *options, "--photos", str(clip)]) == 0
    found = table(capsys)
    assert found["steady"][0] < found["network"][0]
    assert found["photos"][0] > 1


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        (["--frames", "1"], "frames must be >= 2, got 1"),
        (["--count", "0"], "count must be >= 1, got 0"),
        (["--paint-short-side", "8"], "paint_short_side must be >= 32, got 8"),
        (["--photos", "one.mp4"], "photos: one.mp4 must have 2 frames or more, got 1"),
    ],
)
def test_wrong_requests(tmp_path, monkeypatch, options, photos, capsys, extra, problem):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "one.mp4", times=[0])
    assert main(["evaluate", "flicker", *options, "--photos", str(photos), *extra]) == 2
    assert problem in capsys.readouterr().err
