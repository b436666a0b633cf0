"""Motion between frames, and pictures that follow it."""

import numpy as np
import pytest
from conftest import draw
from PIL import Image

from nst_lightning.inference.motion import BLOCK, find_motion, follow_motion, no_motion, to_gray_frame
from nst_lightning.inference.steady import Steadier

SIZE = WIDTH, HEIGHT = 192, 128


def scene(seed=0):
    """A picture with detail everywhere, larger than the frames cut out of it."""
    random = np.random.default_rng(seed)
    coarse, fine = (Image.fromarray(random.integers(0, 256, shape, np.uint8)) for shape in ((14, 20, 3), (56, 80, 3)))
    return Image.blend(*(image.resize((320, 224), Image.Resampling.BICUBIC) for image in (coarse, fine)), 0.3)


def cut(image, left, top, zoom=1.0, noise=0.0, seed=0):
    """A frame of `SIZE` whose camera looks at a place of the scene."""
    box = (left, top, left + WIDTH / zoom, top + HEIGHT / zoom)
    frame = np.asarray(image.resize(SIZE, Image.Resampling.BICUBIC, box=box), float)
    return Image.fromarray(
        (frame + np.random.default_rng(seed).normal(0, noise, frame.shape)).clip(0, 255).astype(np.uint8)
    )


def difference(one, other, border=24):
    """Root mean square inside a border, in levels of 255."""
    arrays = (np.asarray(image, float)[border:-border, border:-border] for image in (one, other))
    return np.sqrt(np.mean(np.subtract(*arrays) ** 2))


@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, -2), (0.4, 0.7), (-9, 12)])
def test_motion_of_a_moved_camera_is_found(down, right):
    before, now = (to_gray_frame(cut(scene(), *place)) for place in ((60, 40), (60 + right, 40 + down)))
    motion = find_motion(now, before, no_motion(now))
    assert motion.shape == (2, HEIGHT // BLOCK + 1, WIDTH // BLOCK + 1)
    inner = motion[:, 2:-2, 2:-2] if max(abs(down), abs(right)) > 5 else motion
    np.testing.assert_allclose(np.median(inner, (1, 2)), (down, right), atol=0.1)
    assert (np.abs(inner - np.reshape((down, right), (2, 1, 1))) < 0.5).mean() > 0.8


def test_motion_of_a_zoom_is_found():
    before, now = (to_gray_frame(cut(scene(), 60, 40, zoom)) for zoom in (1, 1.05))
    rows, columns = find_motion(now, before, no_motion(now))
    expected = np.linspace(0, HEIGHT, HEIGHT // BLOCK + 1) * (1 / 1.05 - 1)
    np.testing.assert_allclose(rows[1:-1, 1:-1], np.repeat(expected[1:-1, None], WIDTH // BLOCK - 1, 1), atol=0.5)
    expected = np.linspace(0, WIDTH, WIDTH // BLOCK + 1) * (1 / 1.05 - 1)
    np.testing.assert_allclose(columns[1:-1, 1:-1], np.repeat(expected[None, 1:-1], HEIGHT // BLOCK - 1, 0), atol=0.5)


def test_flat_frames_do_not_move():
    gray = to_gray_frame(Image.new("RGB", SIZE, "gray"))
    np.testing.assert_array_equal(find_motion(gray, gray, no_motion(gray)), no_motion(gray))


@pytest.mark.parametrize("size", [(1, 1), (33, 64), (640, 360), (1080, 1920)])
def test_frames_are_compared_at_a_limited_size(size):
    gray = to_gray_frame(Image.new("RGB", size))
    assert gray.width % BLOCK == gray.height % BLOCK == 0
    assert BLOCK <= min(gray.size) <= 512


@pytest.mark.parametrize("size", [SIZE, (95, 67), (384, 256)])
def test_images_of_any_size_follow(size):
    image = draw(*size)
    motion = no_motion(to_gray_frame(Image.new("L", SIZE)))
    assert follow_motion(image, motion).tobytes() == image.tobytes()
    motion[:] = np.reshape((16, -32), (2, 1, 1))
    down, right = round(16 * size[1] / HEIGHT), round(32 * size[0] / WIDTH)
    moved = np.asarray(follow_motion(image, motion), int)
    if (size[0] % WIDTH, size[1] % HEIGHT) == (0, 0):
        np.testing.assert_array_equal(moved[:-down, right:], np.asarray(image, int)[down:, :-right])
    assert not moved[-down + 1 :].any()
    assert not moved[:, : right - 1].any()


@pytest.mark.parametrize(("down", "right", "noise"), [(0, 0, 5), (1.3, -0.6, 2), (4, 3, 5)])
def test_pictures_follow_the_scene(down, right, noise):
    """Each frame is "painted" with another picture; the first one should stay, where it was painted."""
    steadier, painting = Steadier(), scene(1)
    for step in range(5):
        place = 60 + step * right, 40 + step * down
        picture = cut(painting if step == 0 else scene(step + 1), *place)
        steady = steadier(cut(scene(), *place, noise=noise, seed=step), picture)
        assert difference(steady, cut(painting, *place)) < 6
        assert step == 0 or difference(steady, picture) > 30


def test_another_scene_gets_its_own_picture():
    steadier = Steadier()
    for seed in range(3):
        picture = cut(scene(seed + 10), 60, 40)
        assert steadier(cut(scene(seed), 60, 40), picture).tobytes() == picture.tobytes()


def test_what_changes_is_painted_anew():
    steadier, (first, second) = Steadier(), (cut(scene(seed), 60, 40) for seed in (1, 2))
    photo = cut(scene(), 60, 40)
    changed = photo.copy()
    changed.paste((255, 0, 255), (64, 32, 128, 80))
    steadier(photo, first)
    steady = steadier(changed, second)
    inside, outside = (72, 40, 120, 72), (16, 96, 176, 112)
    assert difference(steady.crop(inside), second.crop(inside), 4) < 1
    assert difference(steady.crop(outside), first.crop(outside), 4) < 1


def test_pictures_may_be_larger_than_frames():
    picture = draw(300, 200)
    steadier = Steadier()
    for seed in range(2):
        assert steadier(cut(scene(), 60, 40, noise=3, seed=seed), picture).size == picture.size
