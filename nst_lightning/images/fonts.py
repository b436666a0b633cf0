"""Fonts for labels: Pillow's own, or one of the system's that has the letters."""

import functools
import os
import sys
import unicodedata
import warnings
from collections.abc import Iterable
from pathlib import Path

from PIL import ImageFont

from nst_lightning.errors import Notice

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_UNUSUAL = ("bold", "black", "heavy", "italic", "oblique", "light", "thin", "cond", "mono", "serif", "math", "emoji")
"""Parts of the names of font files that others are preferred to."""
_NO_FONT = "lastresort"
"""Part of the name of a font of macOS that has a box for every letter."""


def load_font(text: str, size: int) -> Font:
    """A font for a text: Pillow's own unless it lacks letters, such as Chinese ones, that a font of the system has.

    If no font has all letters, the one that has the most is used, and a `Notice` says so.

    Args:
        text: the text to draw.
        size: the font's size in pixels.
    """
    file, missing = _find_font(frozenset(text), size)
    if missing:
        letters = "".join(sorted(missing))
        warnings.warn(
            f"no font on this system can show {letters} in labels; install one that can", Notice, stacklevel=2
        )
    return ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)


def font_folders() -> list[Path]:
    """The folders in which the system keeps fonts."""
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home fails where there is none
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    if os.name == "nt":
        local = Path(os.environ.get("LOCALAPPDATA", home / "AppData/Local"))
        return [Path(os.environ.get("WINDIR", "C:/Windows"), "Fonts"), local / "Microsoft/Windows/Fonts"]
    data = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    own = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    return [*(Path(folder, "fonts") for folder in data.split(":")), own / "fonts", home / ".fonts"]


@functools.cache
def _find_font(letters: frozenset[str], size: int) -> tuple[Path | None, frozenset[str]]:
    """The file of the best font for some letters, None for Pillow's own, and the letters that it lacks."""
    best, missing = None, _missing(ImageFont.load_default(size), letters)
    for file in _font_files() if missing else ():
        try:
            lacking = _missing(ImageFont.truetype(file, size), letters)
        except Exception:  # a damaged file, a bitmap font without this size, or a failure in raqm's layout
            continue
        if len(lacking) < len(missing):
            best, missing = file, lacking
        if not missing:
            break
    return best, missing


@functools.cache
def _font_files() -> tuple[Path, ...]:
    """The system's font files, plain ones first."""
    endings = {".ttf", ".ttc", ".otf", ".otc"}
    files = {file for folder in font_folders() for file in folder.rglob("*") if file.suffix.lower() in endings}

    def rank(file: Path) -> tuple[int, str]:
        return sum(part in file.name.lower() for part in _UNUSUAL), file.name

    return tuple(sorted((file for file in files if _NO_FONT not in file.name.lower()), key=rank))


def _missing(font: Font, letters: Iterable[str]) -> frozenset[str]:
    """The letters for which a font has nothing, or only the picture that it has for all unknown letters."""
    unknown, nothing = _draw(font, "\uffff"), _draw(font, " ")

    def lacks(letter: str) -> bool:
        kind = unicodedata.category(letter)[0]
        if kind in "CZ":  # controls and blanks, which can't always be drawn
            return False
        drawn = _draw(font, letter)
        return drawn == unknown or (drawn == nothing and kind != "M")  # marks may need the letter before them

    return frozenset(filter(lacks, letters))


def _draw(font: Font, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)
