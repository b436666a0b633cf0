import lightning as L
import numpy as np
import pytest
from PIL import Image

from nst_lightning.images import Picture, read_picture, write_picture
from nst_lightning.images.profiles import ADOBE_RGB, SRGB
from nst_lightning.inference import Stylizer
from nst_lightning.training import PhotoDataModule, PictureWriter, build_style_transfer


@pytest.fixture
def predict(tmp_path, network, encoder, painting):
    """A function that stylizes the photos of `tmp_path / "photos"` with the command's module, data and callback."""

    def run(workers=0, **options):
        callbacks = [PictureWriter(str(tmp_path / "out"), **options)]
        trainer = L.Trainer(accelerator="cpu", logger=False, callbacks=callbacks, default_root_dir=tmp_path)
        module = build_style_transfer(network, encoder, painting, short_side=128)
        trainer.predict(module, PhotoDataModule(predict=str(tmp_path / "photos"), workers=workers))

    return run


def test_predict_reads_and_writes_as_stylize_does(tmp_path, picture, predict, model):
    alpha, exif = Image.linear_gradient("L").resize((60, 44)).rotate(90, expand=True), Image.Exif()
    exif[0x013B] = "The artist"
    photo = picture(44, 60).convert("RGBA")
    photo.putalpha(alpha)
    (tmp_path / "photos/more").mkdir(parents=True)
    photo.save(tmp_path / "photos/more/cut-out.png", icc_profile=ADOBE_RGB, exif=exif)
    predict()
    written = tmp_path / "out/more/cut-out.png.png"
    found = read_picture(written)
    np.testing.assert_array_equal(np.asarray(found.alpha), np.asarray(alpha))
    assert found.exif == exif.tobytes()
    with Image.open(written) as image:
        assert image.info["icc_profile"] == SRGB
    expected = read_picture(tmp_path / "photos/more/cut-out.png")
    write_picture(tmp_path / "expected.png", Picture(Stylizer(model)(expected.image), expected.alpha))
    again = read_picture(tmp_path / "expected.png").rgb
    assert np.abs(np.asarray(again).astype(int) - np.asarray(found.rgb).astype(int)).max() <= 1


def test_hidden_pixels_do_not_matter(tmp_path, picture, predict):
    hidden = np.zeros((40, 50), bool)
    hidden[5:30, 10:40] = True
    alpha = Image.fromarray(np.where(hidden, np.uint8(0), np.uint8(255)))
    (tmp_path / "photos").mkdir()
    for number in range(2):
        pixels = np.array(picture(50, 40))
        pixels[hidden] = picture(50, 40, number + 7).resize((50, 40)).getpixel((number, 3))
        photo = Image.fromarray(pixels).convert("RGBA")
        photo.putalpha(alpha)
        photo.save(tmp_path / f"photos/{number}.png")
    predict()
    first, second = ((tmp_path / f"out/{number}.png.png").read_bytes() for number in range(2))
    assert first == second


def test_predict_leaves_metadata_out_where_that_is_asked(tmp_path, picture, predict):
    exif = Image.Exif()
    exif[0x013B] = "The artist"
    (tmp_path / "photos").mkdir()
    picture(48, 40).save(tmp_path / "photos/a.jpg", exif=exif, dpi=(300, 300))
    predict(metadata="none")
    found = read_picture(tmp_path / "out/a.jpg.png")
    assert (found.exif, found.dpi) == (None, None)
