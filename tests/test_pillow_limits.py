"""Pictures that Pillow's limits would refuse, which are large but real."""

import threading
import warnings
import zlib

import pytest
from PIL import Image, PngImagePlugin

from nst_lightning.cli import main
from nst_lightning.images import PictureError, pillow_limits, read_picture, read_rgb
from nst_lightning.images.pillow_limits import raised_limits


@pytest.fixture
def small_limit(monkeypatch):
    """Pillow's limit of pixels, scaled down so that small pictures exceed it: 1000 warn, 2000 are refused."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)


@pytest.mark.parametrize("size", [(40, 40), (64, 64)])
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "gif", "bmp"])
def test_large_pictures_are_read_without_a_warning(tmp_path, picture, small_limit, ending, size):
    picture(*size).save(tmp_path / f"a.{ending}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_picture(tmp_path / f"a.{ending}").size == size
        assert read_rgb(tmp_path / f"a.{ending}", short_side=min(size)).size == size
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_large_pictures_are_stylized(tmp_path, picture, small_limit, capsys):
    picture(64, 64).save(tmp_path / "a.jpg")
    arguments = ["--short-side", "32", "--output", str(tmp_path / "out.jpg")]
    assert main(["stylize", str(tmp_path / "a.jpg"), *arguments]) == 0
    assert not capsys.readouterr().err


def test_a_file_that_claims_too_many_pixels_is_refused_until_the_limit_is_raised(tmp_path, picture, monkeypatch):
    monkeypatch.setenv("NST_MAX_MEGAPIXELS", "0.001")
    picture(40, 30).save(tmp_path / "a.png")
    with pytest.raises(PictureError, match=r"a\.png: 40x30 are 0\.0012 megapixels, and at most 0\.001 are .*NST"):
        read_picture(tmp_path / "a.png")
    monkeypatch.setenv("NST_MAX_MEGAPIXELS", "0.0012")
    assert read_picture(tmp_path / "a.png").size == (40, 30)
    monkeypatch.setenv("NST_MAX_MEGAPIXELS", "many")
    with pytest.raises(PictureError, match="NST_MAX_MEGAPIXELS must be a number, got 'many'"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("place", ["before the pixels", "after the pixels", "profile"])
def test_long_texts_and_profiles_are_read(tmp_path, picture, place):
    info = PngImagePlugin.PngInfo()
    long = "prompt " * 400_000  # 2.8 MB; Pillow's limit is 1 MB
    if place != "profile":
        compressed = b"workflow\0\0" + zlib.compress(long.encode())
        info.add(b"zTXt", compressed, after_idat=place == "after the pixels")
    picture(40, 30).save(tmp_path / "a.png", pnginfo=info, icc_profile=long.encode() if place == "profile" else None)
    assert read_picture(tmp_path / "a.png").size == (40, 30)
    assert read_picture(tmp_path / "a.png", bits=16).size == (40, 30)


def test_a_text_of_many_megabytes_is_read(tmp_path, picture):
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "prompt " * 11_000_000, zip=True)  # 77 MB
    picture(40, 30).save(tmp_path / "a.png", pnginfo=info)
    assert read_picture(tmp_path / "a.png").size == (40, 30)


@pytest.mark.parametrize("limit", ["MAX_TEXT_CHUNK", "MAX_TEXT_MEMORY"])
def test_too_much_text_is_refused_in_plain_words(tmp_path, picture, monkeypatch, limit):
    monkeypatch.setitem(pillow_limits._RAISED, (PngImagePlugin, limit), 1000)
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "prompt " * 200, zip=True)
    picture(40, 30).save(tmp_path / "a.png", pnginfo=info)
    with pytest.raises(PictureError, match=r"a\.png: has more than 1 GB of text or color profile; save it again"):
        read_picture(tmp_path / "a.png")


def test_the_limits_are_pillows_own_again_when_the_last_thread_is_done():
    usual = Image.MAX_IMAGE_PIXELS
    entered, leave = threading.Event(), threading.Event()

    def read():
        with raised_limits():
            entered.set()
            leave.wait(5)

    thread = threading.Thread(target=read)
    thread.start()
    entered.wait(5)
    with raised_limits():
        pass
    assert Image.MAX_IMAGE_PIXELS is None
    leave.set()
    thread.join()
    assert usual == Image.MAX_IMAGE_PIXELS
