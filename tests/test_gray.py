"""Gray values are read as their file's tags say, with 8 and with 16 bits, and for masks."""

import struct

import numpy as np
import png
import pytest
import tifffile
from PIL import Image

from nst_lightning.images import read_mask, read_picture, read_rgb, to_mask, to_rgb

RAMP = np.linspace(0, 1, 32 * 24).reshape(24, 32)


def tiff(path, values, *, photometric="minisblack", order="<", **tags):
    """Write a TIFF file; `least` and `most` are SMin- and SMaxSampleValue, `largest` is MaxSampleValue."""
    numbers = {"least": 340, "most": 341, "largest": 281}
    kinds = dict.fromkeys(numbers, values.dtype.char) | {"largest": "H"}
    extra = [(numbers[name], kinds[name], 1, value, True) for name, value in tags.items()]
    tifffile.imwrite(path, values, photometric=photometric, byteorder=order, extratags=extra)


def check(path, expected, exact=True):
    """Compare a file with gray values in [0, 1] for each way to read it."""
    expected = np.broadcast_to(np.asarray(expected, np.float32).clip(0, 1), RAMP.shape)
    near = 0.51 / 255
    assert np.abs(np.asarray(read_rgb(path)) / 255 - expected[..., None]).max() <= near
    assert np.abs(read_picture(path).array - expected).max() <= near
    assert np.abs(read_picture(path, bits=16).array - expected).max() <= (2e-5 if exact else near)
    assert np.abs(np.asarray(read_mask(path)) / 255 - expected).max() <= near
    with Image.open(path) as image:
        assert np.abs(np.asarray(to_rgb(image)) / 255 - expected[..., None]).max() <= near
        assert np.abs(np.asarray(to_mask(image)) / 255 - expected).max() <= near


@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize(
    ("kind", "white"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1), (np.float32, 255), (np.float32, 65535)]
)
def test_white_is_zero(tmp_path, kind, white, white_is_zero):
    stored = (RAMP * white).astype(kind)
    tiff(tmp_path / "a.tif", stored, photometric="miniswhite" if white_is_zero else "minisblack")
    expected = stored / white
    check(tmp_path / "a.tif", 1 - expected if white_is_zero else expected, exact=kind != np.uint8)


@pytest.mark.parametrize("white_is_zero", [False, True])
def test_one_bit(tmp_path, white_is_zero):
    stored = RAMP > 0.5
    tiff(tmp_path / "a.tif", stored, photometric="miniswhite" if white_is_zero else "minisblack")
    check(tmp_path / "a.tif", stored ^ white_is_zero)


def test_twelve_bits(tmp_path):
    values = np.round(RAMP * 4095).astype(np.uint32).reshape(-1, 2)
    pairs = values[:, 0] << 12 | values[:, 1]
    data = np.stack([pairs >> 16, pairs >> 8 & 255, pairs & 255], -1).astype(np.uint8).tobytes()
    height, width = RAMP.shape
    tags = {256: width, 257: height, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(data)}
    entries = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<L", 8 + len(data)) + data + directory)
    check(tmp_path / "a.tif", np.round(RAMP * 4095) / 4095)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "white"), [(np.int8, 127), (np.int16, 32767)])
def test_signed_values_are_black_below_0(tmp_path, kind, white, order):
    stored = np.round((2 * RAMP - 1) * white).astype(kind)
    tiff(tmp_path / "a.tif", stored, order=order)
    check(tmp_path / "a.tif", stored / white)


@pytest.mark.parametrize(
    ("kind", "tags", "black", "white"),
    [
        (np.uint16, {"most": 4095}, 0, 4095),  # 12 bits in a container of 16
        (np.uint16, {"least": 1000, "most": 5000}, 1000, 5000),
        (np.int8, {"least": -128, "most": 127}, -128, 127),
        (np.int16, {"least": -32768, "most": 32767}, -32768, 32767),
        (np.float32, {"least": -2.0, "most": 2.0}, -2, 2),
        (np.float32, {"most": 100.0}, 0, 100),
        (np.int32, {"most": 1_000_000}, 0, 1_000_000),
        (np.uint16, {"most": 0}, 0, 65535),  # nonsense
        (np.float32, {"most": float("nan")}, 0, 1),
        (np.uint16, {"largest": 4095}, 0, 65535),  # which must not affect how a picture looks
    ],
)
def test_stated_ranges(tmp_path, kind, tags, black, white):
    stored = (black + RAMP * (white - black)).astype(kind)
    stored.flat[-3:] = min(1.2 * white, np.iinfo(kind).max) if kind != np.float32 else 1.2 * white
    tiff(tmp_path / "a.tif", stored, **tags)
    check(tmp_path / "a.tif", (stored - np.float64(black)) / (white - black))


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize(("least", "most"), [(0, 63), (16, 235), (0, 255)])
def test_stated_ranges_of_8_bits(tmp_path, least, most, photometric):
    stored = np.round(least + RAMP * (most - least)).astype(np.uint8)
    tiff(tmp_path / "a.tif", stored, photometric=photometric, least=least, most=most)
    expected = (stored - np.float64(least)) / (most - least)
    check(tmp_path / "a.tif", 1 - expected if photometric == "miniswhite" else expected, exact=most != 255)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_range_that_is_not_a_number_is_ignored(tmp_path, kind):
    stored = np.round(RAMP * np.iinfo(kind).max).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", stored, extratags=[(341, "s", 0, "many", True)])
    check(tmp_path / "a.tif", stored / np.iinfo(kind).max, exact=kind != np.uint8)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_values_that_are_not_finite(tmp_path, photometric):
    stored = (0.8 * RAMP).astype(np.float32)
    stored[0, :3] = np.nan, np.inf, -np.inf
    tiff(tmp_path / "a.tif", stored, photometric=photometric)
    expected = np.where(np.isfinite(stored), stored, [np.inf if x == 1 else -np.inf for x in range(32)]).clip(0, 1)
    expected = 1 - expected if photometric == "miniswhite" else expected
    expected[0, 0] = 0  # NaN
    check(tmp_path / "a.tif", expected)


@pytest.mark.parametrize("outliers", [[1.001], [300.0], [1e30], [-5.0], [-1e30, 1e30], [np.nan, np.inf]])
@pytest.mark.parametrize("white", [1, 255, 65535])
def test_a_few_outliers_do_not_decide_the_scale_of_floats(tmp_path, white, outliers):
    stored = (RAMP * white).astype(np.float32)
    stored[3, 5 : 5 + len(outliers)] = outliers
    tiff(tmp_path / "a.tif", stored)
    check(tmp_path / "a.tif", np.nan_to_num(stored / np.float32(white), nan=0))


def test_floats_of_another_range(tmp_path):
    """A high dynamic range, and values in between 255 and 65535, have their bright parts as white."""
    for most in (4.0, 20.0, 60.0, 1023.0, 1e7):
        tiff(tmp_path / "a.tif", (RAMP * most).astype(np.float32))
        check(tmp_path / "a.tif", RAMP / np.percentile(RAMP[RAMP > 0], 99))
    for constant, expected in ((0.0, 0), (0.25, 0.25), (200.0, 200 / 255), (-1.0, 0)):
        tiff(tmp_path / "a.tif", np.full(RAMP.shape, constant, np.float32))
        check(tmp_path / "a.tif", expected)
    dark = np.zeros(RAMP.shape, np.float32)
    dark[4:6, 4:6] = 255  # a mask's small white spot
    tiff(tmp_path / "a.tif", dark)
    check(tmp_path / "a.tif", dark / 255)


@pytest.mark.parametrize("kind", [np.int32, np.uint32])
@pytest.mark.parametrize("white", [1, 255, 65535, 2**31 - 1, 2**32 - 1])
def test_integers_with_32_bits(tmp_path, kind, white):
    if white > np.iinfo(kind).max:
        pytest.skip("too large for signed values")
    stored = np.round((RAMP > 0.5 if white == 1 else RAMP) * white).astype(kind)
    tiff(tmp_path / "a.tif", stored)
    most = white if white < 2**17 else np.percentile(stored[stored > 0], 99)
    check(tmp_path / "a.tif", stored / most)


def test_16_bit_png_with_and_without_a_transparent_value(tmp_path):
    stored = np.round(RAMP * 65535).astype(np.uint16)
    for key in (None, int(stored[5, 5]), int(stored[20, 5])):
        with (tmp_path / "a.png").open("wb") as file:
            png.Writer(32, 24, greyscale=True, bitdepth=16, transparent=key).write(file, stored.tolist())
        for bits in (8, 16):
            read = read_picture(tmp_path / "a.png", bits=bits)
            hidden = stored == key if key is not None else np.zeros(stored.shape, bool)
            assert (read.alpha is None) == (key is None)
            assert key is None or ((np.asarray(read.alpha) == 0) == hidden).all()
            expected = np.broadcast_to(stored / np.float32(65535), (3, 24, 32))
            found = read.array[:, ~hidden]
            assert np.abs(found - expected[:, ~hidden]).max() <= (1e-6 if bits == 16 else 0.51 / 255)


@pytest.mark.parametrize("most", [1, 100, 255, 1023, 4095, 65535])
@pytest.mark.parametrize("plain", [False, True])
def test_pgm(tmp_path, most, plain):
    stored = np.round(RAMP * most).astype(np.uint16)
    text = " ".join(map(str, stored.ravel())).encode()
    data = text if plain else stored.astype(">u2" if most > 255 else np.uint8).tobytes()
    (tmp_path / "a.pgm").write_bytes(b"%s 32 24 %d\n" % (b"P2" if plain else b"P5", most) + data)
    check(tmp_path / "a.pgm", stored / most, exact=most > 255)


def test_dark_16_bit_files_stay_dark(tmp_path):
    """Their range is known, so it isn't guessed."""
    dark = np.round(RAMP * 200).astype(np.uint16)
    Image.fromarray(dark).save(tmp_path / "a.png")
    check(tmp_path / "a.png", dark / 65535)
    (tmp_path / "a.pgm").write_bytes(b"P5 32 24 65535\n" + dark.astype(">u2").tobytes())
    check(tmp_path / "a.pgm", dark / 65535)


def test_images_in_memory():
    for kind, white in ((np.float32, 1), (np.float32, 255), (np.int32, 65535)):
        values = np.round(RAMP * white, 4).astype(kind)
        found = np.asarray(to_rgb(Image.fromarray(values)))[..., 0]
        assert np.abs(found / 255 - values / white).max() <= 0.51 / 255
    damaged = np.full((24, 32), np.nan, np.float32)
    assert to_rgb(Image.fromarray(damaged)).getextrema() == ((0, 0),) * 3
