import numpy as np
import pytest
from PIL import Image

from nst_lightning.errors import UserError
from nst_lightning.images import (
    Picture,
    PictureError,
    WritingOptions,
    array_to_image,
    atomic_path,
    check_writable,
    draw_sheet,
    expand_path,
    image_to_array,
    list_pictures,
    read_picture,
    read_rgb,
    read_size,
    resize_short_side,
    to_rgb,
    write_picture,
)

TURNED_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def stored_as(image, orientation):
    """The pixels of an upright image as they lie in a file of that orientation."""
    return image.transpose(TURNED_BACK[orientation]) if orientation in TURNED_BACK else image


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16"])
def test_every_mode_becomes_rgb_of_the_same_look(tmp_path, mode):
    gray = Image.fromarray(np.linspace(0, 255, 64 * 48).reshape(48, 64).astype(np.uint8))
    if mode.startswith("I"):
        sixteen = (np.asarray(gray).astype(np.uint16) * 257).astype(np.int32 if mode == "I" else np.uint16)
        image = Image.fromarray(sixteen)
    else:
        image = gray.convert("RGB").quantize() if mode == "P" else gray.convert("RGB").convert(mode)
    image.save(tmp_path / "picture.tif")
    read = read_rgb(tmp_path / "picture.tif")
    assert (read.mode, read.size) == ("RGB", (64, 48))
    if mode != "1":
        assert np.abs(np.asarray(read).astype(int) - np.asarray(gray.convert("RGB")).astype(int)).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, picture, orientation):
    upright = picture(60, 40)
    stored = stored_as(upright, orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "photo.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(read_rgb(tmp_path / "photo.png")), np.asarray(upright))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_uncompressed_tiffs_are_turned_upright(tmp_path, picture, orientation, mode, bits):
    deep = Image.fromarray(np.asarray(picture(60, 40).convert("L")).astype(np.uint16) * 257)
    image = deep if mode == "I;16" else picture(60, 40).convert(mode)
    image.save(tmp_path / "upright.tif")
    stored_as(image, orientation).save(tmp_path / "turned.tif", tiffinfo={0x0112: orientation})
    upright, turned = (read_picture(tmp_path / f"{name}.tif", bits=bits).array for name in ("upright", "turned"))
    np.testing.assert_array_equal(turned, upright)
    assert read_rgb(tmp_path / "turned.tif").tobytes() == read_rgb(tmp_path / "upright.tif").tobytes()


@pytest.mark.parametrize("ending", ["png", "webp", "tif"])
def test_alpha_survives(tmp_path, picture, ending):
    alpha = Image.linear_gradient("L").resize((50, 40))
    write_picture(tmp_path / f"a.{ending}", Picture(picture(50, 40), alpha), WritingOptions(quality=100))
    read = read_picture(tmp_path / f"a.{ending}")
    assert np.abs(np.asarray(read.alpha).astype(int) - np.asarray(alpha)).max() <= 1


def test_jpeg_lays_transparency_on_white(tmp_path, picture):
    write_picture(tmp_path / "a.jpg", Picture(picture(40, 40), Image.new("L", (40, 40), 0)))
    assert np.asarray(read_rgb(tmp_path / "a.jpg")).min() >= 254


def test_draft_reads_large_jpegs_at_a_smaller_size_but_not_too_small(tmp_path, picture):
    picture(800, 640).save(tmp_path / "large.jpg")
    read = read_rgb(tmp_path / "large.jpg", short_side=150)
    assert 150 <= min(read.size) < 640


def test_arrays_round_trip(picture):
    image = picture(33, 21)
    array = image_to_array(image)
    assert array.shape == (3, 21, 33)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(np.asarray(array_to_image(array)), np.asarray(image))
    assert np.asarray(array_to_image(np.full((3, 2, 2), 7.0))).max() == 255


@pytest.mark.parametrize(("size", "expected"), [((100, 50), (64, 32)), ((50, 100), (32, 64)), ((32, 40), (32, 40))])
def test_resize_short_side(picture, size, expected):
    assert resize_short_side(picture(*size), 32).size == expected


def test_a_picture_is_not_scaled_to_more_pixels_than_allowed(picture):
    with pytest.raises(UserError, match=r"40000x20000 are 800 megapixels, and at most 500 are allowed; .*NST_MAX_"):
        resize_short_side(picture(80, 40), 20_000)


def test_upright_once(tmp_path, picture):
    """What says how to turn a picture isn't passed on with the turned one."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(60, 40).save(tmp_path / "photo.jpg", exif=exif)
    assert read_picture(tmp_path / "photo.jpg").rgb.size == (40, 60)
    assert to_rgb(to_rgb(Image.open(tmp_path / "photo.jpg"))).size == (40, 60)


def test_damaged_exif_does_not_cost_the_picture(tmp_path, picture):
    picture(40, 30).save(tmp_path / "photo.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x05\0\1\0\0\0")
    assert read_rgb(tmp_path / "photo.jpg").size == (40, 30)


def test_whatever_a_decoder_raises_names_the_file(tmp_path, monkeypatch, picture):
    picture(40, 30).save(tmp_path / "photo.png")
    monkeypatch.setattr(Image.Image, "convert", lambda *_: 1 / 0)
    with pytest.raises(PictureError, match=r"photo\.png: can't be read \(division by zero\)"):
        read_rgb(tmp_path / "photo.png")


@pytest.mark.parametrize("high", [1.0, 255.0])
def test_float_pictures(tmp_path, high):
    ramp = np.linspace(0, high, 32 * 32, dtype=np.float32).reshape(32, 32)
    Image.fromarray(ramp).save(tmp_path / "float.tif")
    read = np.asarray(read_rgb(tmp_path / "float.tif"))[..., 0]
    np.testing.assert_allclose(read, ramp * 255 / high, atol=0.51)


def test_palette_with_transparency(tmp_path, picture):
    palette = picture(40, 30).quantize(16)
    palette.save(tmp_path / "palette.png", transparency=bytes(range(1, 256, 16)))
    read = read_picture(tmp_path / "palette.png")
    assert read.alpha is not None
    np.testing.assert_array_equal(np.asarray(read.rgb), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\xff\xd8\xff\xe0 truncated"])
def test_unreadable_files_are_named(tmp_path, content):
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=r"broken\.jpg: "):
        read_picture(path)


def test_truncated_jpeg_is_unreadable(tmp_path, picture):
    picture(200, 200).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:2000])
    with pytest.raises(PictureError, match=r"cut\.jpg: can't be read"):
        read_rgb(tmp_path / "cut.jpg")


def test_missing_file_and_unknown_ending(tmp_path, picture):
    with pytest.raises(PictureError, match=r"nowhere\.png: no such file"):
        read_rgb(tmp_path / "nowhere.png")
    with pytest.raises(PictureError, match=r"endings allowed: \.jpg"):
        write_picture(tmp_path / "picture.xyz", picture(32, 32))


def test_failed_write_leaves_what_was_there(tmp_path, monkeypatch, picture):
    target = tmp_path / "picture.png"
    target.write_bytes(b"before")
    monkeypatch.setattr(Image.Image, "save", lambda *_, **__: (_ for _ in ()).throw(OSError("No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_picture(target, picture(32, 32))
    assert target.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_atomic_path_renames_only_on_success(tmp_path):
    with atomic_path(tmp_path / "new" / "file.txt") as temporary:
        temporary.write_text("done")
        assert not (tmp_path / "new" / "file.txt").exists()
    assert (tmp_path / "new" / "file.txt").read_text(encoding="utf-8") == "done"


def test_names_may_be_as_long_as_file_systems_allow(tmp_path, picture):
    path = tmp_path / f"{'a' * 251}.png"
    assert check_writable(path) == path
    assert not list(tmp_path.iterdir())
    write_picture(path, picture(20, 20))
    assert path.is_file()
    with pytest.raises(PictureError, match="can't be written: File name too long"):
        check_writable(tmp_path / f"{'a' * 252}.png")


def test_list_pictures(tmp_path, photos):
    assert len(list_pictures(photos)) == 8
    with pytest.raises(PictureError, match="no such folder"):
        list_pictures(tmp_path / "nowhere")
    with pytest.raises(PictureError, match="no pictures"):
        list_pictures(tmp_path)
    with pytest.raises(PictureError, match="is a file"):
        list_pictures(photos / "photo0.jpg")


def test_expand_path_names_the_missing_variable(monkeypatch):
    monkeypatch.setenv("NST_TEST_FOLDER", "somewhere")
    assert str(expand_path("$NST_TEST_FOLDER/a")) == "somewhere/a"
    monkeypatch.delenv("NST_TEST_FOLDER")
    with pytest.raises(ValueError, match="variable NST_TEST_FOLDER is not set"):
        expand_path("${NST_TEST_FOLDER}/a")


def test_sheet_holds_every_picture_unscaled(picture):
    painting, photo, stylized = picture(60, 40, 1), picture(50, 40, 2), picture(50, 40, 3)
    sheet = np.asarray(draw_sheet(painting, [(photo, stylized)] * 3, caption="A painting", height=40, columns=2))
    for image, count in ((painting, 1), (photo, 3), (stylized, 3)):
        pixels = np.asarray(image)
        windows = np.lib.stride_tricks.sliding_window_view(sheet[..., 0], pixels.shape[:2])
        assert (windows == pixels[..., 0]).all((2, 3)).sum() == count


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp", "a.heic", "a.gif"])
def test_the_size_of_a_picture_is_read_without_its_pixels(tmp_path, picture, name):
    if name == "a.heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    picture(90, 70).save(tmp_path / name)
    assert read_size(tmp_path / name) == (90, 70)
    content = (tmp_path / name).read_bytes()
    (tmp_path / "text.jpg").write_text("no")
    assert read_size(tmp_path / "text.jpg") is None
    assert read_size(tmp_path / "nowhere.jpg") is None
    if name in ("a.jpg", "a.png"):  # others state it at their end, or are read in full
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        assert read_size(tmp_path / name) == (90, 70)
