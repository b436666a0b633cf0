"""Files that Pillow can't read, or reads in part, say so."""

import numpy as np
import pytest
import tifffile
from notices import said
from PIL import Image

from nst_lightning.errors import Notice
from nst_lightning.images import PictureError, list_pictures, read_picture, read_rgb

RAW = "camera raw, which must be developed to JPEG or TIFF first"


@pytest.mark.parametrize(
    ("name", "advice"), [("a.nef", RAW), ("a.HEIC", r'pip install "nst-lightning\[heic\]"'), ("a.jpg", "pip install")]
)
def test_a_file_given_by_name_says_what_would_help(tmp_path, no_heif, name, advice):
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0 and more" if "nef" not in name else b"raw")
    with pytest.raises(PictureError, match=f"{name}: can't be read: .*{advice}"):
        read_rgb(tmp_path / name)


@pytest.mark.parametrize("name", ["photo.heic", "photo.jpg"])
def test_heic_is_read_where_its_package_is_installed(tmp_path, picture, monkeypatch, name):
    pillow_heif = pytest.importorskip("pillow_heif")
    Image.init()
    monkeypatch.setattr(Image, "OPEN", {kind: opened for kind, opened in Image.OPEN.items() if kind != "HEIF"})
    monkeypatch.setattr(Image, "ID", [kind for kind in Image.ID if kind != "HEIF"])
    pillow_heif.from_pillow(picture(64, 48)).save(tmp_path / "photo.heic", quality=90)
    (tmp_path / "photo.heic").rename(tmp_path / name)
    assert said(list_pictures, tmp_path) == ([tmp_path / name], [])
    assert read_picture(tmp_path / name).image.size == (64, 48)


@pytest.mark.parametrize("tags", [{50706: b"\1\4\0\0"}, {254: 1}])
@pytest.mark.parametrize("name", ["photo.dng", "renamed.tif"])
def test_the_preview_of_a_raw_file_is_not_taken_for_the_photo(tmp_path, picture, name, tags):
    picture(40, 30).save(tmp_path / "photo.tif", tiffinfo=tags)
    (tmp_path / "photo.tif").rename(tmp_path / name)
    with pytest.raises(PictureError, match=f"{name}: can't be read, only its preview: {RAW}"):
        read_picture(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("a.gif", "3 frames"),
        ("a.webp", "3 frames"),
        ("a.png", "3 frames"),
        ("a.tif", "3 pages"),
        ("a.avif", "3 frames"),
    ],
)
def test_only_the_first_of_several_frames_or_pages_is_used_and_said(tmp_path, picture, name, unit):
    if name == "a.avif" and ".avif" not in Image.registered_extensions():
        pytest.skip("this Pillow has no AVIF")
    frames = [picture(40, 30, seed).quantize(64) if name == "a.gif" else picture(40, 30, seed) for seed in range(3)]
    frames[0].save(
        tmp_path / name, save_all=True, append_images=frames[1:], **({"lossless": True} if "webp" in name else {})
    )
    read, notices = said(read_rgb, tmp_path / name)
    assert set(notices) == {f"{tmp_path / name}: only the first of {unit} is used"}
    with Image.open(tmp_path / name) as image:
        assert read.tobytes() == image.convert("RGB").tobytes()


@pytest.mark.parametrize(
    ("kind", "channels", "options"),
    [
        ("f4", 3, {"photometric": "rgb"}),
        ("f4", 3, {"photometric": "rgb", "bigtiff": True}),
        ("f2", 1, {}),
        ("f8", 1, {}),
        ("u2", 2, {"planarconfig": "contig", "extrasamples": ["unassalpha"]}),
        (">u2", 1, {"photometric": "miniswhite", "byteorder": ">"}),
    ],
)
@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
def test_what_helps_with_kinds_of_tiff_that_cannot_be_read(tmp_path, name, kind, channels, options):
    pixels = np.ones((30, 40, channels), kind).squeeze()
    tifffile.imwrite(tmp_path / name, pixels, **{"photometric": "minisblack"} | options)
    with pytest.raises(PictureError, match=f"{name}: can't be read: damaged, or a kind of TIFF that must be converted"):
        read_picture(tmp_path / name)


@pytest.mark.parametrize("beginning", [b"\xff\x0a\xfa", b"\0\0\0\x0cJXL \r\n\x87\n"])
def test_jpeg_xl_under_another_name(tmp_path, beginning):
    (tmp_path / "a.jpg").write_bytes(beginning + bytes(100))
    with pytest.raises(PictureError, match=r"a\.jpg: can't be read: JPEG XL; export to JPEG, PNG or TIFF first"):
        read_picture(tmp_path / "a.jpg")


@pytest.mark.filterwarnings("error")
def test_a_notice_passes_as_it_is_where_warnings_are_errors(tmp_path, picture):
    picture(40, 30).save(tmp_path / "a.gif", save_all=True, append_images=[picture(40, 30, 1)])
    with pytest.raises(Notice, match="only the first of 2 frames is used"):
        read_picture(tmp_path / "a.gif")


def test_previews_are_not_frames(tmp_path, picture):
    picture(40, 30).save(tmp_path / "phone.mpo", save_all=True, append_images=[picture(40, 30, 1)])
    picture(40, 30).save(tmp_path / "one.gif")
    small = picture(20, 15)
    small.encoderinfo = {"tiffinfo": {254: 1}}
    picture(40, 30).save(tmp_path / "preview.tif", save_all=True, append_images=[small])
    with Image.open(tmp_path / "preview.tif") as image:
        assert image.n_frames == 2
    for name in ("phone.mpo", "one.gif", "preview.tif"):
        assert not said(read_picture, tmp_path / name)[1]
