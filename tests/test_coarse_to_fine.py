import pickle

import numpy as np
import pytest
from conftest import with_metadata
from PIL import Image
from test_fixed_size import fixed

from nst_lightning.errors import WorkError
from nst_lightning.images import image_to_array, resize_array, resize_short_side
from nst_lightning.inference import Stylizer
from nst_lightning.inference import stylizer as stylizer_module
from nst_lightning.inference.coarse_to_fine import paint_coarse_to_fine, plan_short_sides

TRAINED = 64


@pytest.fixture(autouse=True)
def small_first_passes(monkeypatch):
    monkeypatch.setattr(stylizer_module, "LEAST_FIRST_SIDE", TRAINED)


@pytest.fixture(params=["model", "many_model"])
def trained(request, tmp_path):
    """A file of each kind, of one style and of several, that says at which short side it was trained."""
    return with_metadata(request.getfixturevalue(request.param), tmp_path / "trained.onnx", {"size": str(TRAINED)})


@pytest.fixture
def trained_many(many_model, tmp_path):
    return with_metadata(many_model, tmp_path / "many.onnx", {"size": str(TRAINED)})


def levels(a, b):
    """The mean and the largest difference of two images, in 8-bit levels."""
    difference = np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64))
    return difference.mean(), difference.max()


@pytest.mark.parametrize(
    ("short_side", "expected"),
    [
        (40, [40]),
        (64, [64]),
        (65, [64, 65]),
        (128, [64, 128]),
        (129, [64, 65, 129]),
        (257, [64, 65, 129, 257]),
        (300, [64, 75, 150, 300]),
    ],
)
def test_sizes_double_up_to_the_photos_own(short_side, expected):
    assert plan_short_sides(short_side, TRAINED) == expected


def test_further_passes_are_weaker_and_see_the_photos_detail(picture):
    photo, seen = image_to_array(picture(150, 96)), []

    def paint(array, strength):
        seen.append((array, strength))
        return np.zeros_like(array)

    paint_coarse_to_fine([resize_array(photo, size) for size in ((100, 64), (150, 96))], paint, 0.5)
    (first, full), (second, weaker) = seen
    np.testing.assert_allclose(first, image_to_array(resize_short_side(picture(150, 96), 64)), atol=2 / 255)
    assert (first.shape, second.shape, full) == ((3, 64, 100), photo.shape, 0.5)
    assert weaker == pytest.approx(0.5 * 0.3 * np.log2(96 / 64))
    enlarged = [Image.fromarray(channel).resize((150, 96), Image.Resampling.LANCZOS) for channel in first]
    np.testing.assert_allclose(second, (0.75 * (photo - np.stack(enlarged))).clip(0, 1), atol=2 / 255)


def test_only_the_first_pass_changes_large_areas(picture):
    """Each pass would darken the picture and add to its edges; the former happens once."""
    photo = image_to_array(picture(150, 128)) / 2 + 0.25
    photos = [resize_array(photo, size) for size in ((38, 32), (75, 64), (150, 128))]
    found = paint_coarse_to_fine(photos, lambda array, strength: 0.7 * array, 1.0)
    np.testing.assert_allclose(found.mean((1, 2)), 0.7 * photo.mean((1, 2)), atol=0.003)


def test_photos_up_to_the_trained_size_are_painted_in_one_pass(trained, picture):
    stylizer = Stylizer(trained)
    for size in ((90, 64), (50, 40)):
        assert stylizer(picture(*size)) == stylizer(picture(*size), strokes="native")
    assert levels(stylizer(picture(180, 128)), stylizer(picture(180, 128), strokes="native"))[0] > 1


def test_one_pixel_more_is_no_other_picture(trained, picture):
    """At the trained size, and where a pass is added; a bolder change must be seen by this measure."""
    stylizer, photo = Stylizer(trained), picture(360, 256)
    pictures = [stylizer(photo, short_side=side) for side in (64, 65, 128, 129)]
    at_64 = [resize_short_side(made, 64) for made in pictures]
    assert levels(at_64[0], at_64[1])[0] < 3
    assert levels(at_64[2], at_64[3])[0] < 3
    assert levels(at_64[0], resize_short_side(stylizer(photo, strokes="native"), 64))[0] > 6


def test_the_first_pass_gives_the_colors(trained, picture):
    stylizer, photo = Stylizer(trained), picture(360, 256)
    small = stylizer(resize_short_side(photo, TRAINED))
    large = stylizer(photo)
    assert large.size == photo.size
    assert levels(small.resize((11, 8), Image.Resampling.BOX), large.resize((11, 8), Image.Resampling.BOX))[0] < 3


def test_no_strength_is_the_photo_itself(trained_many, picture):
    photo = picture(200, 150)
    assert levels(Stylizer(trained_many)(photo, strength=0), photo)[1] <= 1
    weak, strong = (levels(Stylizer(trained_many)(photo, strength=s), photo)[0] for s in (0.02, 1))
    assert 0 < weak < strong / 4


def test_own_colors_are_the_photos_at_full_size(trained_many, picture):
    photo, luma = picture(200, 150), np.array([0.299, 0.587, 0.114])
    stylizer, given = Stylizer(trained_many), np.asarray(photo, np.float64)
    painted = np.asarray(stylizer(photo, style="wood"), np.float64)
    for share in (0.5, 1):
        own = given + (painted - given) * (1 - share) + share * ((painted - given) @ luma)[..., None]
        assert levels(stylizer(photo, style="wood", preserve_color=share), own.clip(0, 255))[1] < 1.6


def test_the_size_of_strokes_is_that_of_the_first_pass(trained, picture):
    stylizer, photo = Stylizer(trained), picture(90, 80)
    native = stylizer(photo, strokes="native")
    assert stylizer(photo, strokes=0.8) == native != stylizer(photo, strokes=0.9)
    assert stylizer(photo, strokes=1e-320) == native
    assert stylizer(photo, strokes=2) == stylizer(photo, strokes=1e9)  # not below the smallest size of 32
    assert stylizer(photo, strokes=1.5) not in (native, stylizer(photo), stylizer(photo, strokes=2))


def test_networks_trained_for_little_paint_first_at_a_larger_size(trained, picture, monkeypatch):
    monkeypatch.setattr(stylizer_module, "LEAST_FIRST_SIDE", 2 * TRAINED)
    stylizer, photo = Stylizer(trained), picture(180, 160)
    assert stylizer(photo, short_side=128) == stylizer(photo, short_side=128, strokes="native")
    assert stylizer(photo, strokes=2) != stylizer(photo) != stylizer(photo, strokes="native")


def test_files_that_do_not_say_their_size_paint_in_one_pass(model, many_model, picture):
    for file in (model, many_model):
        assert Stylizer(file)(picture(300, 200)) == Stylizer(file)(picture(300, 200), strokes="native")


@pytest.mark.parametrize("lengths", [{"height": 96, "width": 144}, {"height": 96}, {"width": 144}])
def test_files_of_a_fixed_size_paint_in_one_pass(trained, tmp_path, picture, lengths):
    stylizer = Stylizer(fixed(trained, tmp_path / "fixed.onnx", **lengths))
    assert stylizer(picture(144, 96)) == stylizer(picture(144, 96), strokes="native")


def test_files_of_a_fixed_batch_size_paint_coarse_to_fine(trained, tmp_path, picture):
    two = Stylizer(fixed(trained, tmp_path / "fixed.onnx", batch=2))
    assert levels(two(picture(144, 96)), Stylizer(trained)(picture(144, 96)))[1] <= 1


def test_blends_are_painted_at_the_mean_of_their_sizes(many_model, tmp_path, picture):
    sizes = {"sizes": '{"ink": 64, "glass": 96, "wood": 20}', "size": "48"}
    stylizer = Stylizer(with_metadata(many_model, tmp_path / "styles.onnx", sizes))
    assert stylizer.trained_short_side("ink:3,glass:1") == stylizer.trained_short_side({"ink": 6, "glass": 2}) == 72
    assert stylizer.trained_short_side("ink:1,wood:1") is None  # less than the smallest size that networks take
    photo, blend = picture(120, 100), "ink:3,glass:1"
    assert stylizer(photo, style=blend, short_side=72) == stylizer(photo, style=blend, short_side=72, strokes="native")
    assert stylizer(photo, style=blend, short_side=73) != stylizer(photo, style=blend, short_side=73, strokes="native")


@pytest.mark.parametrize(
    ("strokes", "shown"),
    [
        (0, "0"),
        (-1.5, "-1.5"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        ("bold", "'bold'"),
        ("", "''"),
        (None, "None"),
        (True, "True"),
        ([1], r"\[1\]"),
    ],
)
def test_bad_strokes(trained, picture, strokes, shown):
    with pytest.raises(ValueError, match=f"^strokes must be > 0, or native, got {shown}$"):
        Stylizer(trained)(picture(40, 40), strokes=strokes)


def test_no_memory_for_resizing_is_one_line(trained, picture, monkeypatch):
    """Pillow's MemoryError has no text."""
    stylizer, photo = Stylizer(trained), picture(180, 128)

    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "resize", fail)
    with pytest.raises(WorkError, match=r"^a photo of 180x128 could not be stylized \(MemoryError\)$"):
        stylizer(photo)


def test_pickled_stylizers_paint_the_same(trained, picture):
    stylizer, photo = Stylizer(trained, threads=1), picture(120, 90)
    assert pickle.loads(pickle.dumps(stylizer))(photo, strokes=0.8) == stylizer(photo, strokes=0.8)
