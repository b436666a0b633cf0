import numpy as np
import png
import pytest
import tifffile
from PIL import Image

from nst_lightning.images import (
    Picture,
    PictureError,
    WritingOptions,
    array_to_image,
    image_to_array,
    read_picture,
    write_picture,
)
from nst_lightning.images.deep import encode_png

TURNED_BACK = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels, -1),
}


@pytest.fixture
def samples():
    """Pixels of every kind: noise, a smooth part, and both ends of the range; none is hidden by an alpha of 0."""
    made = np.random.default_rng(0).integers(0, 65536, (45, 67, 4)).astype(np.uint16)
    made[:9] = np.linspace(0, 65535, 9 * 67 * 4).reshape(9, 67, 4)
    made[9], made[10] = 0, 65535
    made[..., 3] |= 257
    return made


def as_array(samples):
    return np.moveaxis(samples[..., :3], -1, 0) / np.float32(65535)


def independently(path):
    """What readers find in a file that share nothing with Pillow."""
    if path.suffix == ".tif":
        return tifffile.imread(path)
    width, height, rows, _ = png.Reader(filename=path).read()
    return np.array([np.asarray(row) for row in rows]).reshape(height, width, -1)


@pytest.mark.parametrize("alpha", [None, "L", "I;16"])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bits_are_written_and_read_exactly(tmp_path, samples, ending, alpha):
    path, expected = tmp_path / f"a.{ending}", samples[..., :3]
    transparency = None
    if alpha == "L":
        transparency = Image.fromarray((samples[..., 3] >> 8).astype(np.uint8))
        expected = np.dstack([expected, np.asarray(transparency) * np.uint16(257)])
    elif alpha:
        transparency, expected = Image.fromarray(samples[..., 3]), samples
    write_picture(path, Picture(as_array(samples), transparency), WritingOptions(bits=16))
    found = independently(path)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, expected)
    with Image.open(path) as image:
        assert image.mode == ("RGBA" if alpha else "RGB")
    read = read_picture(path, bits=16)
    assert read.rgb.dtype == np.float32
    np.testing.assert_array_equal(np.round(read.rgb * 65535), np.moveaxis(expected[..., :3], -1, 0))
    if alpha:
        np.testing.assert_array_equal(np.asarray(read.alpha), expected[..., 3])


@pytest.mark.parametrize("compression", [None, "zlib", "lzma"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_tiffs_of_others_are_read_exactly(tmp_path, samples, channels, order, compression):
    kind = {"photometric": "minisblack" if channels == 1 else "rgb", "extrasamples": ["unassalpha"] * (channels == 4)}
    stored = samples[..., 0] if channels == 1 else samples[..., :channels]
    tifffile.imwrite(tmp_path / "a.tif", stored, byteorder=order, compression=compression, **kind)
    read = read_picture(tmp_path / "a.tif", bits=16)
    expected = np.repeat(samples[..., :1], 3, axis=-1) if channels == 1 else samples[..., :3]
    np.testing.assert_array_equal(np.round(read.rgb * 65535), np.moveaxis(expected, -1, 0))
    assert (read.alpha is not None) == (channels == 4)


@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [3, 4])
def test_uncompressed_planes_are_read_exactly(tmp_path, samples, channels, order, tile):
    planes = np.ascontiguousarray(np.moveaxis(samples[..., :channels], -1, 0))
    kind = {"photometric": "rgb", "extrasamples": ["unassalpha"] * (channels == 4), "planarconfig": "separate"}
    tifffile.imwrite(tmp_path / "a.tif", planes, byteorder=order, tile=tile, **kind)
    read = read_picture(tmp_path / "a.tif", bits=16)
    np.testing.assert_array_equal(np.round(read.rgb * 65535), planes[:3])
    np.testing.assert_array_equal(np.asarray(read_picture(tmp_path / "a.tif").rgb), samples[..., :3] >> 8)
    if channels == 4:
        np.testing.assert_array_equal(np.asarray(read.alpha), samples[..., 3])


@pytest.mark.parametrize(("photometric", "kinds"), [("separated", []), ("rgb", ["assocalpha"])])
def test_planes_that_cannot_be_read_are_refused(tmp_path, samples, photometric, kinds):
    planes = np.ascontiguousarray(np.moveaxis(samples, -1, 0))
    options = {"photometric": photometric, "extrasamples": kinds, "planarconfig": "separate"}
    tifffile.imwrite(tmp_path / "a.tif", planes, **options)
    with pytest.raises(PictureError, match=r"a\.tif: can't be read: damaged, or a kind of TIFF that must be conv"):
        read_picture(tmp_path / "a.tif")


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_pngs_of_others_are_read_exactly(tmp_path, samples, channels, interlace):
    height, width, _ = samples.shape
    writer = png.Writer(width, height, greyscale=False, alpha=channels == 4, bitdepth=16, interlace=interlace)
    with (tmp_path / "a.png").open("wb") as file:
        writer.write_array(file, samples[..., :channels].ravel())
    read = read_picture(tmp_path / "a.png", bits=16)
    np.testing.assert_array_equal(np.round(read.rgb * 65535), np.moveaxis(samples[..., :3], -1, 0))
    assert (read.alpha is not None) == (channels == 4)


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bits_are_turned_upright_once(tmp_path, samples, orientation, ending):
    path, stored = tmp_path / f"a.{ending}", np.ascontiguousarray(TURNED_BACK[orientation](samples))
    if ending == "png":
        exif = Image.Exif()
        exif[0x0112] = orientation
        path.write_bytes(encode_png(stored, exif=exif.tobytes()))
    else:
        tags = [(0x0112, "H", 1, orientation, True)]
        tifffile.imwrite(path, stored, photometric="rgb", extrasamples=["unassalpha"], extratags=tags)
    read = read_picture(path, bits=16)
    np.testing.assert_array_equal(np.round(read.rgb * 65535), np.moveaxis(samples[..., :3], -1, 0))
    np.testing.assert_array_equal(np.asarray(read.alpha), samples[..., 3])
    assert read_picture(path).rgb.size == (67, 45)


def test_other_files_give_their_8_bits_as_array(tmp_path, picture, samples):
    image = picture(50, 40)
    for ending in ("jpg", "png", "tif"):
        write_picture(tmp_path / f"a.{ending}", Picture(image, Image.new("L", image.size, 90)))
        eight, sixteen = (read_picture(tmp_path / f"a.{ending}", bits=bits) for bits in (8, 16))
        np.testing.assert_array_equal(sixteen.rgb, image_to_array(eight.rgb))
        assert sixteen.alpha == eight.alpha
    kind = {"photometric": "rgb", "compression": "zlib"}
    premultiplied = samples.copy()
    premultiplied[..., 3] = 65535
    tifffile.imwrite(tmp_path / "premultiplied.tif", premultiplied, extrasamples=["assocalpha"], **kind)
    planes = np.ascontiguousarray(np.moveaxis(samples[..., :3], -1, 0))
    tifffile.imwrite(tmp_path / "planes.tif", planes, planarconfig="separate", **kind)
    for name in ("premultiplied", "planes"):
        read = read_picture(tmp_path / f"{name}.tif", bits=16)
        np.testing.assert_array_equal(read.rgb, as_array(samples // 256 * 257))


@pytest.mark.parametrize("ending", ["png", "tif", "jpg", "webp"])
def test_arrays_are_written_with_8_bits_too(tmp_path, samples, ending):
    alpha = Image.fromarray(samples[..., 3])
    write_picture(tmp_path / f"array.{ending}", Picture(as_array(samples), alpha))
    eight = Image.fromarray((samples[..., 3] / 257 + 0.5).astype(np.uint8))
    write_picture(tmp_path / f"image.{ending}", Picture(array_to_image(as_array(samples)), eight))
    assert (tmp_path / f"array.{ending}").read_bytes() == (tmp_path / f"image.{ending}").read_bytes()


def test_values_outside_the_range_are_clipped(tmp_path):
    write_picture(
        tmp_path / "a.png", np.stack([np.full((4, 5), value) for value in (-0.5, 0.5, 1.5)]), WritingOptions(bits=16)
    )
    assert independently(tmp_path / "a.png")[0, 0].tolist() == [0, 32768, 65535]


@pytest.mark.parametrize(("name", "bits"), [("a.jpg", 16), ("a.webp", 16), ("a.png", 12), ("a.tif", 32)])
def test_bits_that_a_format_does_not_have(tmp_path, picture, name, bits):
    with pytest.raises(PictureError, match=rf"{name}: bits must be 8, or 16 for a \.png, .*, got {bits}"):
        write_picture(tmp_path / name, picture(40, 30), WritingOptions(bits=bits))
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"bits must be 8 or 16, got 12"):
        read_picture(tmp_path / name, bits=12)


@pytest.mark.parametrize("shape", [(40, 30, 3), (1, 3, 40, 30), (40, 30)])
def test_arrays_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"rgb must be an image or an array of shape \(3, H, W\), got shape \(.*\)"):
        Picture(np.zeros(shape))


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_damaged_16_bit_files_are_named(tmp_path, samples, ending):
    path = tmp_path / f"a.{ending}"
    write_picture(path, as_array(samples), WritingOptions(bits=16))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PictureError, match=rf"a\.{ending}: "):
        read_picture(path, bits=16)
