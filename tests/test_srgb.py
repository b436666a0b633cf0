"""Pictures of all color spaces look the same after reading, and are written as sRGB."""

import io
import itertools
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base, Interop
from PIL.PngImagePlugin import PngInfo

from nst_lightning.cli import main
from nst_lightning.images import (
    WritingOptions,
    image_to_array,
    read_mask,
    read_picture,
    read_rgb,
    to_rgb,
    write_picture,
)
from nst_lightning.images.profiles import ADOBE_RGB, SRGB, SRGB_CHROMATICITIES, SRGB_CURVE, build_profile
from nst_lightning.inference import Stylizer

P3_CHROMATICITIES = (0.3127, 0.3290, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
P3 = build_profile("Display P3", P3_CHROMATICITIES, SRGB_CURVE)
WIDE = build_profile("wide", (0.3457, 0.3585, 0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001), [1.8])  # ProPhoto RGB
LINEAR = build_profile("linear", SRGB_CHROMATICITIES, [1.0])


def with_curve(curve, profile=SRGB, space=b"RGB "):
    """A copy of a profile with another curve tag; for gray, it's the only one that counts."""
    count = struct.unpack_from(">L", profile, 128)[0]
    content = bytearray(profile + bytes(-len(profile) % 4))
    for entry in range(132, 132 + 12 * count, 12):
        if content[entry + 1 : entry + 4] == b"TRC":
            content[entry + 4 : entry + 12] = struct.pack(">LL", len(content), len(curve))
            if space == b"GRAY":
                content[entry] = b"k12"[b"rgb".index(content[entry])]
    content[16:20] = space
    content += curve
    content[:4] = struct.pack(">L", len(content))
    return bytes(content)


def table_curve(points):
    values = np.linspace(0, 1, points)
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return b"curv" + struct.pack(">4xL", points) + np.round(light * 65535).astype(">u2").tobytes()


def parametric_curve(kind, *numbers):
    return b"para" + struct.pack(f">4xH2x{len(numbers)}l", kind, *(round(65536 * number) for number in numbers))


def table_profile(space, channels, lab):
    """A profile of tables, as printers and scanners have them: `lab` gives the color at each corner."""
    corners = [lab(corner) for corner in itertools.product((0, 1), repeat=channels)]
    ramp = bytes(range(256))
    identity = struct.pack(">9l", *(65536 * (i % 4 == 0) for i in range(9)))
    cells = np.array(corners) * [2.55, 1, 1] + [0, 128, 128]
    tag = b"mft1" + struct.pack(">4x3Bx", channels, 3, 2) + identity + ramp * channels
    tag += np.round(cells).astype(np.uint8).tobytes() + ramp * 3
    entries = {b"A2B0": tag, b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3l", 63190, 65536, 54061)}
    table, data = struct.pack(">L", len(entries)), b""
    for name, content in entries.items():
        table += name + struct.pack(">LL", 128 + 4 + 24 + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    head = struct.pack(">L4xL", 132 + 24 + len(data), 0x02100000) + b"prtr" + space + b"Lab " + bytes(12) + b"acsp"
    return head.ljust(68, b"\0") + struct.pack(">3l", 63190, 65536, 54061) + bytes(48) + table + data


RGB_TABLES = table_profile(b"RGB ", 3, lambda corner: (100 * sum(corner) / 3, 40 * (corner[0] - corner[1]), 0))
ONLY_BLACK_PRINTS = table_profile(b"CMYK", 4, lambda corner: (100 * (1 - corner[3]), 0, 0))


def by_pillow(image, profile):
    source, relative = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.Intent.RELATIVE_COLORIMETRIC
    exact = ImageCms.Flags.NOOPTIMIZE
    return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), relative, "RGB", flags=exact)


def largest_difference(first, second):
    return np.abs(np.asarray(first).astype(int) - np.asarray(second).astype(int)).max()


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize(
    ("profile", "stored", "expected"),
    [
        # Known values: sRGB's primaries in these spaces.
        (P3, (234, 51, 35), (255, 0, 0)),
        (P3, (117, 251, 76), (0, 255, 0)),
        (ADOBE_RGB, (219, 0, 0), (255, 0, 0)),
        (ADOBE_RGB, (144, 255, 60), (0, 255, 0)),
        (LINEAR, (55, 55, 55), (128, 128, 128)),
        (P3, (255, 0, 0), (255, 0, 0)),  # outside of sRGB
    ],
)
def test_colors_are_converted_from_the_profile(tmp_path, ending, profile, stored, expected):
    path = tmp_path / f"a.{ending}"
    options = {"quality": 100, "subsampling": 0} if ending == "jpg" else {"lossless": True} if ending == "webp" else {}
    Image.new("RGB", (16, 16), stored).save(path, icc_profile=profile, **options)
    everywhere = Image.new("RGB", (16, 16), expected)
    near = 4  # steps near 0 are small in linear light
    assert largest_difference(read_rgb(path), everywhere) <= near
    assert largest_difference(read_picture(path).rgb, everywhere) <= near
    assert largest_difference(read_picture(path, bits=16).image, everywhere) <= near
    assert largest_difference(read_mask(path), everywhere.convert("L")) <= near
    with Image.open(path) as image:
        assert largest_difference(to_rgb(image), everywhere) <= near
        assert largest_difference(to_rgb(to_rgb(image)), everywhere) <= near
        assert largest_difference(to_rgb(image.convert("RGB")), everywhere) <= near


def test_profiles_agree_with_littlecms(picture):
    space = ImageCms.ImageCmsProfile(io.BytesIO(SRGB)).profile
    reference = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).profile
    for name in ("red_colorant", "green_colorant", "blue_colorant", "media_white_point"):
        np.testing.assert_allclose(getattr(space, name)[0], getattr(reference, name)[0], atol=1e-4)
    assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(SRGB))).strip() == "sRGB"
    assert largest_difference(by_pillow(picture(64, 48), SRGB), picture(64, 48)) == 0
    assert len(SRGB) < 600


def gray_profile(exponent):
    return with_curve(parametric_curve(0, exponent), space=b"GRAY")


@pytest.mark.parametrize(
    ("mode", "profile"),
    [
        *(("RGB", WIDE), ("RGB", RGB_TABLES), ("RGBA", P3), ("P", P3), ("PA", P3), ("YCbCr", P3)),
        *(("L", gray_profile(1.0)), ("LA", gray_profile(1.4)), ("L", WIDE), ("LA", WIDE), ("CMYK", ONLY_BLACK_PRINTS)),
    ],
)
def test_every_mode_has_its_profile(picture, mode, profile):
    image = picture(40, 30)
    image = image.convert("P").convert(mode) if mode == "PA" else image.convert(mode)
    own = image.convert({"PA": "RGBA", "LA": "L"}.get(mode, mode))
    own = own if own.mode == "CMYK" or (own.mode == "L" and profile is not WIDE) else own.convert("RGB")
    image.info["icc_profile"] = profile
    assert largest_difference(to_rgb(image), by_pillow(own, profile)) <= 1
    assert largest_difference(to_rgb(image), own.convert("RGB")) > 5


def test_lab_pictures(tmp_path):
    lab = np.tile(np.uint8([138, 81, 70]), (8, 8, 1))  # sRGB's red under D50
    tifffile.imwrite(tmp_path / "lab.tif", lab, photometric="cielab")
    assert largest_difference(read_rgb(tmp_path / "lab.tif"), Image.new("RGB", (8, 8), (255, 0, 0))) <= 5


@pytest.mark.parametrize(
    "profile",
    [
        SRGB,
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        *(with_curve(table_curve(points)) for points in (1024, 26)),  # as HP's, and as the smallest ones
        b"no profile",
        P3[:300],
        with_curve(b"text\0\0\0\0", P3),
        with_curve(parametric_curve(0, 0.0), P3),
        *(with_curve(b"curv" + struct.pack(">4xL2H", 2, *ends), P3) for ends in ((30_000, 30_000), (65_535, 0))),
        gray_profile(1.0),
        ONLY_BLACK_PRINTS,
    ],
)
def test_profiles_without_effect_or_sense_change_nothing(tmp_path, picture, profile):
    picture(40, 30).save(tmp_path / "a.png", icc_profile=profile)
    assert largest_difference(read_rgb(tmp_path / "a.png"), picture(40, 30)) == 0
    deep = read_picture(tmp_path / "a.png", bits=16)
    np.testing.assert_array_equal(deep.rgb, image_to_array(picture(40, 30)))


def png(path, image, **chunks):
    """A PNG file with chunks that Pillow doesn't write on request."""
    info = PngInfo()
    for kind, numbers in chunks.items():
        info.add(kind.encode(), numbers if isinstance(numbers, bytes) else struct.pack(f">{len(numbers)}L", *numbers))
    image.save(path, pnginfo=info)


SRGB_CHUNK = [round(100_000 * number) for number in SRGB_CHROMATICITIES]
P3_CHUNK = [round(100_000 * number) for number in P3_CHROMATICITIES]


@pytest.mark.parametrize(
    ("chunks", "profile"),
    [
        ({"gAMA": [100_000]}, LINEAR),
        ({"gAMA": [55_556]}, build_profile("1.8", SRGB_CHROMATICITIES, [1.8])),
        ({"gAMA": [45_455], "cHRM": P3_CHUNK}, build_profile("2.2", P3_CHROMATICITIES, [2.2])),
        ({"cHRM": P3_CHUNK}, P3),
        ({"gAMA": [45_455], "cHRM": SRGB_CHUNK}, None),  # what PNG recommends for sRGB
        ({"gAMA": [100_000], "cHRM": P3_CHUNK, "sRGB": b"\0"}, None),
        *(({"gAMA": [gamma]}, None) for gamma in (0, 1, 4_000_000_000)),
        *(({"cHRM": chunk}, None) for chunk in ([0] * 8, [31_270, 32_900] * 4, [4_000_000_000] * 8)),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_chunks_of_png(tmp_path, picture, mode, chunks, profile):
    image = picture(40, 30).convert(mode)
    png(tmp_path / "a.png", image, **chunks)
    image = image.convert("RGB")
    expected = image if profile is None else by_pillow(image, profile)
    assert largest_difference(read_rgb(tmp_path / "a.png"), expected) <= (profile is not None)


def test_a_profile_wins_over_chunks_and_exif(picture):
    image = picture(40, 30)
    image.info |= {"icc_profile": P3, "gamma": 1.0, "srgb": 0, "exif": exif_of(0xFFFF, "R03")}
    assert largest_difference(to_rgb(image), by_pillow(picture(40, 30), P3)) <= 1


def exif_of(space, index):
    exif = Image.Exif()
    exif[IFD.Exif] = {Base.ColorSpace: space, Base.Gamma: 2.2}
    if index:
        exif[IFD.Exif][IFD.Interop] = {Interop.InteropIndex: index}
    return exif.tobytes()


@pytest.mark.parametrize("ending", ["png", "webp", "jpg"])
@pytest.mark.parametrize(
    ("space", "index", "adobe"),
    [(0xFFFF, "R03", True), (2, None, True), (0xFFFF, None, False), (0xFFFF, "R98", False), (1, "R98", False)],
)
def test_adobe_rgb_in_exif_data(tmp_path, picture, ending, space, index, adobe):
    path = tmp_path / f"a.{ending}"
    picture(40, 30).save(path, exif=exif_of(space, index), **({"lossless": True} if ending == "webp" else {}))
    with Image.open(path) as image:
        plain = image.convert("RGB")
    expected = by_pillow(plain, ADOBE_RGB) if adobe else plain
    assert largest_difference(read_rgb(path), expected) <= adobe
    write_picture(tmp_path / "b.jpg", read_picture(path))
    with Image.open(tmp_path / "b.jpg") as image:
        directory = image.getexif().get_ifd(IFD.Exif)
    assert directory[Base.ColorSpace] == 1
    assert directory.keys() == {Base.ColorSpace}  # no gamma, no interoperability


CURVES = [
    *(parametric_curve(0, 1.8), parametric_curve(1, 2.2, 0.9, 0.1), parametric_curve(2, 2.2, 0.9, 0.05, 0.02)),
    *(parametric_curve(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045), b"curv\0\0\0\0\0\0\0\0"),
    *(parametric_curve(4, 2.4, 0.9, 0.05, 0.1, 0.04, 0.01, 0.0), b"curv\0\0\0\0\0\0\0\1\1\xcc", table_curve(40)),
]


@pytest.mark.parametrize("curve", CURVES, ids=range(len(CURVES)))
@pytest.mark.parametrize("space", [b"RGB ", b"GRAY"])
def test_16_bits_agree_with_littlecms(tmp_path, curve, space):
    """The lower bits are 0, so Pillow's conversion of the upper ones is right but for its own rounding."""
    profile = with_curve(curve, WIDE, space)
    high = np.random.default_rng(0).integers(0, 256, (30, 40) if space == b"GRAY" else (30, 40, 3)).astype(np.uint8)
    extra = [(34675, "B", len(profile), profile, True)]
    kind = {"photometric": "minisblack" if space == b"GRAY" else "rgb", "extratags": extra}
    tifffile.imwrite(tmp_path / "a.tif", high * np.uint16(257), **kind)
    found = read_picture(tmp_path / "a.tif", bits=16).rgb
    expected = by_pillow(Image.fromarray(high), profile)
    assert np.abs(found * 255 - np.asarray(expected).transpose(2, 0, 1)).max() < 1.2


def test_16_bits_are_converted_without_steps(tmp_path):
    ramp = np.tile(np.arange(20_000, 40_000, 16, dtype=np.uint16)[None, :, None], (2, 1, 3))
    tifffile.imwrite(tmp_path / "a.tif", ramp, photometric="rgb", extratags=[(34675, "B", len(WIDE), WIDE, True)])
    found = read_picture(tmp_path / "a.tif", bits=16).rgb
    light = (ramp[0, :, 0] / 65535) ** 1.8
    np.testing.assert_allclose(found[1, 0], 1.055 * light ** (1 / 2.4) - 0.055, atol=1e-4)
    assert (np.diff(found[:, 0]) > 0).all()


def test_16_bit_gray_and_chunks_of_png(tmp_path):
    values = np.linspace(10_000, 65_535, 600).astype(np.uint16).reshape(20, 30)
    png(tmp_path / "a.png", Image.fromarray(values), gAMA=[100_000], cHRM=P3_CHUNK)
    found = read_picture(tmp_path / "a.png", bits=16).rgb
    expected = 1.055 * (values / 65535) ** (1 / 2.4) - 0.055
    np.testing.assert_allclose(found, np.stack([expected] * 3), atol=2e-4)
    assert np.abs(np.asarray(read_rgb(tmp_path / "a.png")) / 255 - expected[..., None]).max() <= 2 / 255


def test_16_bits_and_tables(tmp_path, picture):
    pixels = np.asarray(picture(40, 30)).astype(np.uint16) * 257
    extra = [(34675, "B", len(RGB_TABLES), RGB_TABLES, True)]
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extratags=extra)
    found = read_picture(tmp_path / "a.tif", bits=16)
    np.testing.assert_array_equal(found.rgb, image_to_array(read_picture(tmp_path / "a.tif").rgb))
    assert largest_difference(found.image, by_pillow(picture(40, 30), RGB_TABLES)) <= 1


def test_large_jpegs_are_decoded_small_and_converted(tmp_path, picture):
    picture(800, 640).save(tmp_path / "large.jpg", icc_profile=P3)
    small = read_rgb(tmp_path / "large.jpg", short_side=150)
    assert small.height < 640
    with Image.open(tmp_path / "large.jpg") as image:
        image.draft("RGB", small.size)
        assert largest_difference(small, by_pillow(image.copy(), P3)) <= 1


@pytest.mark.parametrize("name", ["8.jpg", "8.png", "8.webp", "8.tif", "16.png", "16.tif"])
def test_every_file_has_the_same_profile(tmp_path, picture, name):
    picture(40, 30).save(tmp_path / "photo.png", icc_profile=P3)
    bits = int(name.split(".")[0])
    written = []
    for folder in ("a", "b"):
        photo = read_picture(tmp_path / "photo.png", bits=bits)
        write_picture(tmp_path / folder / name, photo, WritingOptions(bits=bits))
        written.append((tmp_path / folder / name).read_bytes())
    assert written[0] == written[1]
    with Image.open(tmp_path / "a" / name) as image:
        assert image.info["icc_profile"] == SRGB
    again = [np.asarray(read_rgb(path)).astype(int) for path in (tmp_path / "a" / name, tmp_path / "photo.png")]
    assert np.abs(again[0] - again[1]).mean() < (15 if name.endswith(("jpg", "webp")) else 0.01)


def test_an_image_is_written_as_it_looks(tmp_path, picture):
    image = picture(40, 30).convert("RGBA")
    image.putalpha(100)
    image.info["icc_profile"] = P3
    write_picture(tmp_path / "a.png", image)
    read = read_picture(tmp_path / "a.png")
    assert largest_difference(read.rgb, by_pillow(picture(40, 30), P3)) <= 1
    assert read.alpha.getextrema() == (100, 100)


def test_the_same_look_is_painted_the_same(tmp_path, model, picture):
    """A P3 photo and its conversion to sRGB, through the command and the class."""
    photo, expected = picture(64, 48), by_pillow(picture(64, 48), P3)
    photo.save(tmp_path / "p3.png", icc_profile=P3)
    expected.save(tmp_path / "srgb.png")
    names = [str(tmp_path / name) for name in ("p3.png", "srgb.png")]
    assert main(["stylize", *names, "--model", model, "--output", str(tmp_path / "out")]) == 0
    painted = [Image.open(tmp_path / "out" / name) for name in ("p3.png", "srgb.png")]
    assert largest_difference(*painted) <= 4
    with Image.open(tmp_path / "p3.png") as image:
        assert largest_difference(Stylizer(model)(image), painted[0]) == 0
    assert largest_difference(Stylizer(model)(photo), painted[0]) > 8
