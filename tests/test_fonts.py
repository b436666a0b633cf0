"""Labels are drawn with a font that has their letters. The fonts here are Pillow's own, with other letters."""

import struct
import unicodedata
import warnings

import numpy as np
import pytest
from PIL import Image, ImageFont

from nst_lightning.errors import Notice
from nst_lightning.images import draw_labeled, draw_sheet, fonts


def font_of(letters, *, glyph=36):
    """Pillow's own font, with a single glyph for some letters, and nothing for all others."""
    default = ImageFont.load_default(16)
    content = bytearray(default.font_bytes)
    groups = b"".join(struct.pack(">LLL", ord(letter), ord(letter), glyph) for letter in sorted(letters))
    subtable = struct.pack(">HHLLL", 12, 0, 16 + len(groups), 0, len(letters)) + groups  # format 12 of OpenType's cmap
    table = struct.pack(">HHHHL", 0, 1, 3, 10, 12) + subtable
    entry = content.index(b"cmap")
    struct.pack_into(">LL", content, entry + 8, len(content), len(table))
    return bytes(content) + table


@pytest.fixture
def system(tmp_path, monkeypatch):
    """The system's folder of fonts, empty."""
    fonts._find_font.cache_clear()
    fonts._font_files.cache_clear()
    monkeypatch.setattr(fonts, "font_folders", lambda: [tmp_path, tmp_path / "missing"])
    yield tmp_path
    fonts._find_font.cache_clear()
    fonts._font_files.cache_clear()


def name_of(font):
    return getattr(font, "path", None) and str(font.path)


def test_plain_letters_have_pillows_own_font(system):
    (system / "other.ttf").write_bytes(font_of("abc"))
    assert fonts.load_font("step 250, great_wave", 20).font_bytes == ImageFont.load_default(20).font_bytes


@pytest.mark.parametrize("letters", ["波", "日本", "한국", "привет", "ελληνικά", "سلام", "é", "ไทย"])
def test_other_letters_have_a_font_of_the_system_that_has_them(system, letters):
    (system / "a_latin.ttf").write_bytes(font_of("abcdefgh"))
    (system / "below").mkdir()
    (system / "below/b.OTF").write_bytes(font_of(set(letters)))
    (system / "broken.ttf").write_bytes(b"not a font")
    assert name_of(fonts.load_font(letters, 20)) == str(system / "below/b.OTF")


def test_a_plain_font_is_preferred_and_one_with_all_letters_to_one_with_some(system):
    (system / "a-Bold.ttf").write_bytes(font_of("波"))
    (system / "b.ttf").write_bytes(font_of("波"))
    (system / "z.ttf").write_bytes(font_of("波浪"))
    assert name_of(fonts.load_font("波", 20)) == str(system / "b.ttf")
    assert name_of(fonts.load_font("波浪", 20)) == str(system / "z.ttf")


def test_letters_that_no_font_has_are_said(system):
    (system / "a.ttf").write_bytes(font_of("波"))
    with pytest.warns(Notice, match="no font on this system can show 浪 in labels; install one that can"):
        assert name_of(fonts.load_font("波浪", 20)) == str(system / "a.ttf")


@pytest.mark.parametrize("draw", ["labels", "caption"])
def test_sheets_show_the_letters(system, draw):
    """A letter looks like the glyph that the font has for it, not like an unknown one, in either Unicode form."""
    (system / "a.ttf").write_bytes(font_of("波é"))
    image = Image.new("RGB", (40, 40), "white")

    def drawn(text):
        sheet = draw_labeled([[(text, image)]], height=90) if draw == "labels" else draw_sheet(image, [], caption=text)
        return np.asarray(sheet)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = drawn("波")
        np.testing.assert_array_equal(drawn(unicodedata.normalize("NFD", "é")), drawn("é"))
    np.testing.assert_array_equal(drawn("é"), shown)  # the same glyph
    with pytest.warns(Notice):
        unknown = drawn("浪")
    assert shown.shape != unknown.shape or (shown != unknown).any()


def test_a_font_that_fails_is_skipped_and_line_breaks_are_not_drawn(system, monkeypatch):
    """As fonts of the system do with raqm, whose layout fails for a line break; Pillow's wheels may be without it."""
    for name in ("a.ttf", "b.ttf"):
        (system / name).write_bytes(font_of("波"))
    getmask = ImageFont.FreeTypeFont.getmask

    def fail(font, text, *arguments, **options):
        if name_of(font) == str(system / "a.ttf") or (name_of(font) and "\n" in text):
            raise RuntimeError("raqm_layout() failed.")
        return getmask(font, text, *arguments, **options)

    monkeypatch.setattr(ImageFont.FreeTypeFont, "getmask", fail)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert name_of(fonts.load_font("波\n", 20)) == str(system / "b.ttf")


def test_the_folders_of_fonts_need_no_home(monkeypatch):
    def missing(path="~"):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(fonts.Path, "home", missing)
    monkeypatch.setattr(fonts.os.path, "expanduser", lambda path: path)
    assert fonts.font_folders()
