from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nst_lightning.cli import main
from nst_lightning.commands import examples as command
from nst_lightning.examples import impasto, ink_wash, mosaic, pastel, watercolor

DRAWN = [impasto, ink_wash, mosaic, pastel, watercolor]


@pytest.mark.parametrize("draw", DRAWN, ids=lambda draw: draw.__name__)
def test_a_style_picture_is_always_the_same_and_full_of_detail(draw):
    picture = draw(96)
    assert picture.size == (96, 96)
    assert picture.mode == "RGB"
    pixels = np.asarray(picture, dtype=float)
    assert (pixels == np.asarray(draw(96))).all()
    assert (pixels != np.asarray(draw(96, seed=1))).any()
    assert pixels.std((0, 1)).min() > 20
    assert np.abs(np.diff(pixels, axis=1)).mean() > 2


def test_the_command_writes_photos_credits_and_styles(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "STYLES", {"impasto": lambda: impasto(64)})
    assert main(["examples", "--output", str(tmp_path / "examples")]) == 0
    written = {path.relative_to(tmp_path / "examples").as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    photos = {f"photos/{'val' if p.held_out else 'train'}/{Path(p.file).name}" for p in command.PHOTOS}
    assert written == {"photos/CREDITS.txt", "styles/impasto.png"} | photos
    for path in (tmp_path / "examples/photos").rglob("*.*g"):
        with Image.open(path) as image:
            assert min(image.size) >= 256
    credits = (tmp_path / "examples/photos/CREDITS.txt").read_text()
    assert len(credits.splitlines()) == len(command.PHOTOS)


def test_without_the_packages_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "PHOTOS", (command.Photo("no_such_package", "a.png", "nobody"),))
    assert main(["examples", "--output", str(tmp_path)]) == 2
    assert 'pip install "nst-lightning[quickstart]"' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
