"""What is written beside the pixels: chroma, resolution, metadata; and the endings that stand for a format."""

import numpy as np
import png
import pytest
import tifffile
from PIL import ExifTags, Image, TiffImagePlugin

from nst_lightning.cli import main
from nst_lightning.errors import UserError
from nst_lightning.images import Picture, PictureError, WritingOptions, array_to_image, read_picture, write_picture

FORMATS = ["jpg", "jpe", "jfif", "png", "webp", "tif"]


@pytest.fixture
def stripes() -> Image.Image:
    """Columns of red and blue, whose mean is lost if the chroma is halved."""
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, 0::2], pixels[:, 1::2] = (200, 40, 40), (40, 40, 200)
    return Image.fromarray(pixels)


@pytest.fixture
def located(tmp_path, picture):
    """A photo with a place, a maker's note, an artist and a resolution."""
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Ada"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = b"serial 4711"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] = 100
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (52.0, 31.0, 12.0)})
    picture(48, 40).save(tmp_path / "photo.jpg", exif=exif, dpi=(240, 240))
    return tmp_path / "photo.jpg"


def error(tmp_path, image, ending, quality):
    write_picture(tmp_path / f"a.{ending}", image, WritingOptions(quality=quality))
    read = np.asarray(read_picture(tmp_path / f"a.{ending}").image, dtype=float)
    return np.abs(read - np.asarray(image, dtype=float)).mean()


@pytest.mark.parametrize(("ending", "most"), [("jpg", 1.0), ("jfif", 1.0), ("webp", 0.0)])
def test_the_best_quality_keeps_the_chroma(tmp_path, stripes, ending, most):
    assert error(tmp_path, stripes, ending, 100) <= most
    assert error(tmp_path, stripes, ending, 80) > 20  # what halving costs, and where it's allowed


def test_the_default_quality_keeps_the_chroma_of_jpegs(tmp_path, stripes):
    assert error(tmp_path, stripes, "jpg", WritingOptions().quality) < 4


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", ["jpg", "png", "webp", "tif", "bmp"])
def test_the_resolution_survives(tmp_path, picture, source, target):
    if source == "webp":
        write_picture(tmp_path / "a.webp", Picture(picture(40, 30), dpi=(300.0, 200.0)))
    else:
        picture(40, 30).save(tmp_path / f"a.{source}", dpi=(300, 200))
    read = read_picture(tmp_path / f"a.{source}")
    assert read.dpi == pytest.approx((300, 200), abs=0.02)
    write_picture(tmp_path / f"b.{target}", read)
    with Image.open(tmp_path / f"b.{target}") as image:
        exif = image.getexif()
        found = image.info.get("dpi") or (exif[ExifTags.Base.XResolution], exif[ExifTags.Base.YResolution])
    assert [float(value) for value in found] == pytest.approx((300, 200), abs=0.5)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_the_resolution_survives_sixteen_bits(tmp_path, picture, ending):
    path = tmp_path / f"a.{ending}"
    write_picture(path, Picture(picture(40, 30), dpi=(300.0, 200.0)), WritingOptions(bits=16))
    if ending == "png":
        with path.open("rb") as file:
            reader = png.Reader(file=file)
            reader.read()
            assert (reader.x_pixels_per_unit, reader.y_pixels_per_unit, reader.unit_is_meter) == (11811, 7874, 1)
    else:
        tags = tifffile.TiffFile(path).pages[0].tags
        assert (tags["XResolution"].value, tags["YResolution"].value, tags["ResolutionUnit"].value) == (
            (300, 1),
            (200, 1),
            2,
        )


def test_the_resolution_turns_with_the_picture(tmp_path, picture):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    for name, compression in (("a.jpg", None), ("a.png", None), ("a.tif", None), ("b.tif", "tiff_adobe_deflate")):
        picture(40, 30).save(tmp_path / name, dpi=(300, 200), exif=exif, compression=compression)
        assert read_picture(tmp_path / name).dpi == pytest.approx((200, 300), abs=0.02)
        assert read_picture(tmp_path / name).size == (30, 40)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({0x011A: 300, 0x011B: 200, 0x0128: 2}, (300, 200)),
        ({0x011A: 100, 0x011B: 50, 0x0128: 3}, (254, 127)),
        ({0x011A: 100, 0x011B: 50, 0x0128: 3, 0x0112: 6}, (127, 254)),
        ({0x011A: 300, 0x011B: 200, 0x0128: 1}, None),  # no unit
        ({0x011A: 300, 0x011B: 200}, None),
        ({0x011A: 300, 0x0128: 2}, None),
        ({0x011A: 0, 0x011B: 200, 0x0128: 2}, None),
    ],
)
def test_the_resolution_is_taken_from_exif(tmp_path, picture, ending, tags, expected):
    exif = Image.Exif()
    exif.update(tags)
    picture(40, 30).save(tmp_path / f"a.{ending}", exif=exif)
    assert read_picture(tmp_path / f"a.{ending}").dpi == expected


@pytest.mark.parametrize(
    ("numbers", "expected"), [((282, 283), (300, 200)), ((282,), None), ((283,), None), ((), None)]
)
def test_the_unit_of_a_tiff_is_the_inch_unless_it_states_another(tmp_path, picture, numbers, expected):
    values = {282: TiffImagePlugin.IFDRational(300), 283: TiffImagePlugin.IFDRational(200)}
    picture(40, 30).save(tmp_path / "a.tif", tiffinfo={number: values[number] for number in numbers})
    with Image.open(tmp_path / "a.tif") as image:
        assert 296 not in image.tag_v2
    assert read_picture(tmp_path / "a.tif").dpi == expected


def test_an_absurd_resolution_is_dropped(tmp_path, picture):
    picture(40, 30).save(tmp_path / "a.png", dpi=(0.01, 0.01))
    assert read_picture(tmp_path / "a.png").dpi is None


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("metadata", ["keep", "no-location", "none"])
def test_metadata_can_be_removed(tmp_path, located, ending, metadata):
    target = tmp_path / f"out.{ending}"
    assert main(["stylize", str(located), "--output", str(target), "--metadata", metadata]) == 0
    with Image.open(target) as image:
        image.load()
        exif = image.getexif()
        camera, place = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
    assert exif.get(ExifTags.Base.Artist) == (None if metadata == "none" else "Ada")
    assert camera.get(ExifTags.Base.ISOSpeedRatings) == (None if metadata == "none" else 100)
    assert (ExifTags.Base.MakerNote in camera) == (metadata == "keep")
    assert bool(place) == (metadata == "keep")
    assert b"serial 4711" not in target.read_bytes() or metadata == "keep"


def test_optimize_has_the_same_options(tmp_path, located, picture, compact_weights):
    picture(40, 40, seed=1).save(tmp_path / "painting.png")
    arguments = ["--fast", "--compact", compact_weights, "--levels", "1", "--iterations", "1"]
    arguments += ["--metadata", "none", "--quality", "80"]
    command = ["optimize", str(located), "--style", str(tmp_path / "painting.png"), *arguments]
    assert main([*command, "--output", str(tmp_path / "out.jpg")]) == 0
    with Image.open(tmp_path / "out.jpg") as image:
        assert not image.getexif()
    assert main([*command, "--output", str(tmp_path / "out.jpg"), "--quality", "0"]) == 2


@pytest.mark.parametrize("name", ["a.jfif", "a.JPE", "a.jpeg"])
def test_every_jpeg_keeps_its_name(tmp_path, picture, name):
    picture(40, 40).save(tmp_path / name, format="JPEG")
    assert main(["stylize", str(tmp_path / name), "--output", str(tmp_path / "out")]) == 0
    with Image.open(tmp_path / "out" / name) as image:
        assert image.format == "JPEG"


def test_a_picture_too_large_for_its_format_is_refused(tmp_path):
    with pytest.raises(PictureError, match=r"a\.webp: the sides of a WEBP must be <= 16383 pixels, got 16384x1"):
        write_picture(tmp_path / "a.webp", array_to_image(np.zeros((3, 1, 16384))))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": 101}, "quality must be from 1 to 100, got 101"),
        ({"metadata": "some"}, "metadata must be keep or no-location or none, got 'some'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        WritingOptions(**options)
