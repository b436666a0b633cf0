"""Pixels under alpha 0 don't matter, wherever photos are painted."""

import numpy as np
import png
import pytest
import tifffile
from PIL import Image

from nst_lightning.cli import main
from nst_lightning.images import read_mask, read_picture, read_rgb, resize_short_side, to_mask
from nst_lightning.images.transparency import fill_hidden
from nst_lightning.inference import Stylizer
from nst_lightning.optimization import PyramidOptions, optimize_picture

BRIEF = PyramidOptions(long_side=64, levels=1, iterations=2)


def cut_out(picture, seed, mode="RGBA"):
    """A photo with a visible disc, a soft edge, and other colors below alpha 0 for every seed."""
    y, x = np.mgrid[0:60, 0:80]
    alpha = ((25 - np.hypot(x - 40, y - 30)) * 64).clip(0, 255).astype(np.uint8)
    source = picture(80, 60)
    palette = source.quantize(64)
    pixels = np.array({"PA": palette, "LA": source.convert("L"), "La": source.convert("L")}.get(mode, source))
    noise = np.random.default_rng(seed).integers(0, 64, pixels.shape)
    pixels[alpha == 0] = noise[alpha == 0]
    image = Image.fromarray(pixels)
    if mode == "PA":
        image.putpalette(palette.getpalette())
        image = image.convert("PA")
    image.putalpha(Image.fromarray(alpha))
    return image if image.mode == mode else image.convert(mode)


def save(image, path, **options):
    path.parent.mkdir(exist_ok=True)
    image.save(path, **({"lossless": True, "exact": True} if path.suffix == ".webp" else {}), **options)


def test_hidden_pixels_continue_their_neighbors(picture):
    rgb = picture(97, 61)
    alpha = np.full((61, 97), 255, np.uint8)
    alpha[10:50, 20:80], alpha[0, 0] = 0, 1
    filled = np.asarray(fill_hidden(rgb, Image.fromarray(alpha))).astype(int)
    np.testing.assert_array_equal(filled[alpha > 0], np.asarray(rgb)[alpha > 0])
    halves = np.zeros((60, 60, 3), np.uint8)
    halves[:30], halves[30:] = (200, 20, 90), (10, 220, 90)
    hole = np.full((60, 60), 255, np.uint8)
    hole[10:50, 10:50] = 0
    garbage = np.where(hole[..., None] == 0, np.uint8(255), halves)
    filled = np.asarray(fill_hidden(Image.fromarray(garbage), Image.fromarray(hole))).astype(int)
    assert np.abs(filled[12, 12:48] - [200, 20, 90]).max() <= 30
    assert np.abs(filled[48, 12:48] - [10, 220, 90]).max() <= 30
    assert np.abs(filled[..., 2] - 90).max() <= 3
    assert np.abs(np.diff(filled[10:50, 20], axis=0)).max() <= 25  # from one color to the other without a step


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (37, 64)])
def test_pictures_of_one_color_stay_so(size):
    rgb = Image.effect_noise(size, 90).convert("RGB")
    assert fill_hidden(rgb, Image.new("L", size)).getextrema() == ((255, 255),) * 3
    one = Image.new("L", size)
    one.putpixel((0, 0), 1)
    color = rgb.getpixel((0, 0))
    assert all(
        abs(value - bound) <= 2 for pair, value in zip(fill_hidden(rgb, one).getextrema(), color) for bound in pair
    )


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("ending", ["png", "webp", "tif"])
def test_files_that_differ_under_alpha_0_are_read_alike(tmp_path, picture, ending, bits):
    read = []
    for seed in range(2):
        save(cut_out(picture, seed), tmp_path / f"{seed}.{ending}")
        read.append(read_picture(tmp_path / f"{seed}.{ending}", bits=bits))
    np.testing.assert_array_equal(read[0].array, read[1].array)
    opaque = np.asarray(read[0].alpha.convert("L")) == 255
    np.testing.assert_array_equal(np.asarray(read[0].image)[opaque], np.asarray(picture(80, 60))[opaque])
    small = [resize_short_side(read_rgb(tmp_path / f"{seed}.{ending}"), 20) for seed in range(2)]
    assert small[0] == small[1]


def test_hidden_pixels_with_16_bits(tmp_path):
    random = np.random.default_rng(0)
    stored = random.integers(0, 65536, (30, 40, 4)).astype(np.uint16)
    stored[..., 3] = 65535
    stored[5:20, 5:20, 3], stored[0, 0, 3] = 0, 100  # the latter has 0 in its upper byte, but isn't hidden
    read = []
    for number in range(2):
        stored[5:20, 5:20, :3] = random.integers(0, 65536, (15, 15, 3))
        tifffile.imwrite(tmp_path / f"{number}.tif", stored, photometric="rgb", extrasamples=["unassalpha"])
        read.append(read_picture(tmp_path / f"{number}.tif", bits=16).rgb)
    np.testing.assert_array_equal(*read)
    visible = stored[..., 3] > 0
    expected = np.moveaxis(stored[..., :3], -1, 0)[:, visible]
    np.testing.assert_array_equal(np.round(read[0][:, visible] * 65535), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "La", "RGBa"])
def test_images_that_differ_under_alpha_0_are_painted_alike(model, picture, mode):
    images = [cut_out(picture, seed, mode) for seed in range(2)]
    stylizer = Stylizer(model)
    for side in (None, 40):
        assert stylizer(images[0], short_side=side) == stylizer(images[1], short_side=side)


def test_palettes_with_a_transparent_color(model, picture):
    images = []
    for color in ((255, 0, 255), (0, 255, 0)):
        image = picture(60, 40).quantize(32)
        palette = image.getpalette()
        palette[15:18] = color
        image.putpalette(palette)
        image.info["transparency"] = 5
        images.append(image)
    assert images[0].convert("RGB") != images[1].convert("RGB")
    assert Stylizer(model)(images[0]) == Stylizer(model)(images[1])


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("gray", [True, False])
def test_the_transparent_color_of_a_png_has_the_depth_of_the_file(tmp_path, depth, gray):
    if not gray and depth < 8:
        pytest.skip("PNG has no such colors")
    most = 2**depth - 1
    others = [0, most // 3 + (most == 1), most]
    channels = 1 if gray else 3
    color = (2 * most // 3,) * channels
    pixels = np.repeat([*others, color[0]], channels)
    pixels = pixels.reshape(1, -1)
    with (tmp_path / "a.png").open("wb") as file:
        key = color[0] if gray else color
        png.Writer(4, 1, greyscale=gray, bitdepth=depth, transparent=key).write(file, pixels.tolist())
    expected = np.where(np.all(pixels.reshape(4, channels) == color, 1), 0, 255)
    for bits in (8, 16):
        read = read_picture(tmp_path / "a.png", bits=bits)
        assert np.asarray(read.alpha).ravel().tolist() == expected.tolist()
    with Image.open(tmp_path / "a.png") as image:
        assert not np.asarray(to_mask(image)).ravel()[expected == 0].any()


def run_pair(tmp_path, picture, arguments, ending="png", **options):
    """The bytes and alpha of the pictures that a command makes of two photos that differ under alpha 0."""
    made = []
    for seed in range(2):
        folder = tmp_path / str(seed)
        save(cut_out(picture, seed), folder / f"photo.{ending}")
        assert main([word.replace("FOLDER", str(folder)) for word in arguments]) == 0
        made.append((folder / f"out.{options.get('made', ending)}").read_bytes())
    return made


@pytest.mark.parametrize("side", [None, 40])
@pytest.mark.parametrize("ending", ["png", "webp", "tif"])
def test_stylize(tmp_path, picture, model, ending, side):
    arguments = ["stylize", f"FOLDER/photo.{ending}", "--model", model, "--output", f"FOLDER/out.{ending}"]
    first, second = run_pair(tmp_path, picture, [*arguments, *(["--short-side", str(side)] if side else [])], ending)
    assert first == second
    alpha = cut_out(picture, 0).getchannel("A")
    expected = alpha if side is None else alpha.resize((53, 40))
    assert read_picture(tmp_path / f"0/out.{ending}").alpha == expected


@pytest.mark.parametrize(
    "options", [["--bits", "8"], ["--bits", "16"], ["--init", "MODEL"], ["--init", "FOLDER/photo.png"]]
)
def test_optimize(tmp_path, picture, compact_weights, painting, model, options):
    arguments = ["optimize", "FOLDER/photo.png", "--style", painting, "--output", "FOLDER/out.png"]
    arguments += ["--fast", "--compact", compact_weights, "--long-side", "64", "--iterations", "2", "--levels", "1"]
    options = [option.replace("MODEL", model) for option in options]
    first, second = run_pair(tmp_path, picture, [*arguments, *options])
    assert first == second
    expected = cut_out(picture, 0).getchannel("A").resize((64, 48), Image.Resampling.BICUBIC)
    assert read_picture(tmp_path / "0/out.png").alpha == expected


def test_styles(tmp_path, picture, many_model):
    arguments = ["styles", "FOLDER/photo.png", "--model", many_model, "--output", "FOLDER/out.jpg", "--height", "48"]
    first, second = run_pair(tmp_path, picture, arguments, made="jpg")
    assert first == second
    corner = np.asarray(read_rgb(tmp_path / "0/out.jpg"))[4:8, 4:8]
    assert corner.min() > 240  # the photo and its pictures are drawn on white


def test_optimize_picture_takes_images_of_every_mode(picture, encoder):
    photos = [cut_out(picture, seed) for seed in range(2)]
    paintings = [cut_out(picture, seed + 2) for seed in range(2)]
    masks = [Image.new("LA", (80, 60), (white, 0)) for white in (0, 255)]
    for mask in masks:
        mask.paste((255, 255), (10, 10, 50, 50))
    made = [
        optimize_picture(photo, [painting], encoder, pyramid=BRIEF, masks=[mask], init=photo).pixels
        for photo, painting, mask in zip(photos, paintings, masks)
    ]
    np.testing.assert_array_equal(*made)


def test_masks_are_white_where_they_are_opaque(tmp_path):
    mask = Image.new("LA", (8, 8), (255, 0))
    mask.paste((255, 255), (0, 0, 4, 8))
    mask.save(tmp_path / "mask.png")
    assert np.asarray(read_mask(tmp_path / "mask.png")).tolist() == [[255] * 4 + [0] * 4] * 8
