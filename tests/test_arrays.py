import numpy as np
import pytest
from conftest import with_metadata
from test_fixed_size import fixed
from test_strips import painted_strips  # noqa: F401

from nst_lightning.errors import UserError
from nst_lightning.images import image_to_array
from nst_lightning.inference import Stylizer
from nst_lightning.inference import stylizer as stylizer_module

TRAINED = 64


@pytest.fixture
def trained(many_model, tmp_path, monkeypatch):
    """A file for photos that are painted coarse to fine if they are larger than 64 pixels."""
    monkeypatch.setattr(stylizer_module, "LEAST_FIRST_SIDE", TRAINED)
    return with_metadata(many_model, tmp_path / "trained.onnx", {"size": str(TRAINED)})


@pytest.fixture
def run_shapes(monkeypatch):
    """The shapes of what goes through networks."""
    shapes, run = [], stylizer_module.run_session

    def noted(session, inputs, **options):
        shapes.append(inputs["photo"].shape)
        return run(session, inputs, **options)

    monkeypatch.setattr(stylizer_module, "run_session", noted)
    return shapes


def in_floats(pixels):
    return np.float32(pixels) / np.float32(255)


OPTIONS = [
    {},
    {"style": "wood", "strength": 0.6, "preserve_color": 0.5},
    {"short_side": 50},
    {"short_side": 130, "preserve_color": 1.0},
    {"strokes": "native"},
    {"strokes": 2},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_bytes_are_painted_as_images_are(trained, picture, options):
    stylizer, photo = Stylizer(trained), picture(100, 70)
    painted = stylizer(np.asarray(photo), **options)
    assert painted.dtype == np.uint8
    np.testing.assert_array_equal(painted, np.asarray(stylizer(photo, **options)))


@pytest.mark.parametrize("options", OPTIONS)
def test_floats_are_painted_as_images_are_but_finer(trained, picture, options):
    stylizer, photo = Stylizer(trained), picture(100, 70)
    painted = stylizer(in_floats(photo), **options)
    assert painted.dtype == np.float32
    assert painted.min() >= 0
    assert painted.max() <= 1
    rounded = 2 if "short_side" in options else 0.51  # levels, since images are scaled in 8 bits
    np.testing.assert_allclose(painted * 255, np.asarray(stylizer(photo, **options)), atol=rounded)
    assert np.abs(painted * 255 - (painted * 255).round()).max() > 0.4


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("convert", [np.uint8, in_floats])
def test_several_are_painted_as_each_is(trained, picture, options, convert):
    stylizer = Stylizer(trained)
    photos = convert(np.stack([np.asarray(picture(100, 70, seed=seed)) for seed in range(3)]))
    painted = stylizer(photos, **options)
    assert painted.dtype == photos.dtype
    expected = np.stack([stylizer(photo, **options) for photo in photos])
    rounding = 1 if convert is np.uint8 else 1e-5
    np.testing.assert_allclose(painted, expected.astype(np.float64), atol=rounding)
    assert np.mean(painted != expected) < (0.001 if convert is np.uint8 else 1)
    np.testing.assert_array_equal(stylizer(photos[:1], **options), expected[:1])


def test_floats_keep_what_bytes_would_round(many_model):
    photo = np.random.default_rng(0).random((40, 50, 3), np.float32)
    np.testing.assert_allclose(Stylizer(many_model)(photo, strength=0), photo, atol=1e-6)


@pytest.mark.parametrize(
    ("pixels", "expected"), [(40 * 50, [1] * 5), (2 * 40 * 50, [2, 2, 1]), (2**18, [5]), (1, [1] * 5)]
)
def test_several_go_through_the_network_at_once(model, monkeypatch, run_shapes, pixels, expected):
    monkeypatch.setattr(stylizer_module, "BATCH_PIXELS", pixels)
    Stylizer(model)(np.zeros((5, 40, 50, 3), np.uint8))
    assert run_shapes == [(count, 3, 40, 50) for count in expected]


@pytest.mark.parametrize("size", [(50, 40), (100, 70)])
def test_files_of_a_fixed_batch_size_are_filled(trained, tmp_path, run_shapes, picture, size):
    photos = np.stack([np.asarray(picture(*size, seed=seed)) for seed in range(3)])
    painted = Stylizer(fixed(trained, tmp_path / "two.onnx", batch=2))(photos, style="ink")
    assert {shape[0] for shape in run_shapes} == {2}
    assert len(run_shapes) == (2 if size == (50, 40) else 2 * 2)  # of which one has one photo, in one or two passes
    expected = np.stack([Stylizer(trained)(photo, style="ink") for photo in photos])
    np.testing.assert_allclose(painted.astype(int), expected, atol=1)


def test_files_of_a_fixed_size(many_model, tmp_path, picture):
    stylizer = Stylizer(fixed(many_model, tmp_path / "fixed.onnx", height=48, width=64))
    for size in ((40, 35), (100, 90)):  # filled, and scaled down
        photo = picture(*size)
        np.testing.assert_array_equal(stylizer(np.asarray(photo)), np.asarray(stylizer(photo)))
        np.testing.assert_allclose(255 * stylizer(in_floats(photo)), np.asarray(stylizer(photo)), atol=2)


@pytest.mark.usefixtures("painted_strips")
def test_arrays_in_strips(many_model, picture):
    stylizer, photo = Stylizer(many_model, max_memory=8e9), picture(90, 70)
    expected = np.asarray(stylizer(photo))
    np.testing.assert_array_equal(stylizer(np.asarray(photo)), expected)
    np.testing.assert_allclose(stylizer(in_floats(photo)) * 255, expected, atol=1)
    np.testing.assert_array_equal(stylizer(np.stack([photo, photo])), np.stack([expected, expected]))


def test_arrays_need_not_be_contiguous(model, picture):
    channels = image_to_array(picture(60, 40))
    expected = Stylizer(model)(np.ascontiguousarray(channels.transpose(1, 2, 0)))
    np.testing.assert_array_equal(Stylizer(model)(channels.transpose(1, 2, 0)), expected)
    pixels = np.asarray(picture(60, 40))[:, ::-1]
    np.testing.assert_array_equal(Stylizer(model)(pixels), Stylizer(model)(pixels.copy()))


def test_the_order_of_bytes_does_not_matter(model, picture):
    photo = in_floats(picture(60, 40))
    swapped = photo.astype(photo.dtype.newbyteorder("S"))
    painted = Stylizer(model)(swapped)
    assert painted.dtype == np.float32
    np.testing.assert_array_equal(painted, Stylizer(model)(photo))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((40, 40, 3)), "image must be an array of uint8 or float32, got 'float64'"),
        (np.zeros((40, 40, 3), bool), "image must be an array of uint8 or float32, got 'bool'"),
        (np.zeros((40, 40), np.uint8), "image: the shape must be .* got \\(40, 40\\)"),
        (np.zeros((3, 40, 40), np.uint8), "image: the shape must be .* got \\(3, 40, 40\\)"),
        (np.zeros((40, 40, 4), np.uint8), "image: the shape must be .* got \\(40, 40, 4\\)"),
        (np.zeros((1, 1, 40, 40, 3), np.uint8), "image: the shape must be .* got \\(1, 1, 40, 40, 3\\)"),
        (np.zeros((0, 40, 40, 3), np.uint8), "not empty, got \\(0, 40, 40, 3\\)"),
        (np.full((40, 40, 3), 255, np.float32), "image must be in \\[0, 1\\] if it is float32, got '255.0 to 255.0'"),
        (np.full((40, 40, 3), np.nan, np.float32), "image must be in \\[0, 1\\] if it is float32, got 'nan to nan'"),
        (np.full((40, 40, 3), -0.1, np.float32), "image must be in \\[0, 1\\] if it is float32"),
        (np.zeros((40, 20, 3), np.uint8), "a photo of 20x40 is too small: at least 32x32"),
        ("photo.jpg", "image must be an image or an array, got <class 'str'>"),
    ],
)
def test_wrong_arrays(model, given, message):
    with pytest.raises(UserError, match=message):
        Stylizer(model)(given)
