import numpy as np
import pytest

from nst_lightning.cli import main


def rows(capsys):
    """Name and figures of each row."""
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["content", "style", "at", "1", "at", "1/2", "at", "1/4", "grit", "picture"]
    return [(line.split()[-1], np.array([float(cell) for cell in line.split()[:-1]])) for line in lines]


@pytest.fixture
def common(compact_weights):
    return ["--vgg19", "null", "--compact", compact_weights, "--short-side", "128"]


def test_the_photo_comes_first(capsys, photos, painting, common):
    photo = str(photos / "photo0.jpg")
    call = ["evaluate", "pictures", painting, photo, "--photos", photo, "--paintings", painting]
    assert main([*call, *common]) == 0
    (first, untouched), (second, painted), (third, again) = rows(capsys)
    assert (first, second, third) == ("photo0.jpg", "painting.png", "photo0.jpg")
    assert untouched[0] == 0  # the photo has its own content
    np.testing.assert_array_equal(untouched, again)
    assert painted[1] < 0.5 * untouched[1]  # the painting, squeezed to the photo's shape, has its own style


def test_each_picture_may_have_a_photo_of_its_own(capsys, photos, painting, common):
    first, second = (str(path) for path in sorted(photos.glob("*.jpg"))[:2])
    call = ["evaluate", "pictures", second, first, "--photos", first, "--photos", second, "--paintings", painting]
    assert main([*call, *common]) == 0
    found = rows(capsys)
    assert [name for name, _ in found] == [name.rpartition("/")[2] for name in (first, second, second, first)]
    assert [figures[0] == 0 for _, figures in found] == [True, False, True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--short-side", "64"], "short_side must be >= 128, got 64"),
        (["--photos", "b.png"], "photos must be one file, or one for each of the 1 pictures, got ["),
        (["--compact", "nowhere.pth"], "nowhere.pth"),
        (["--compact", "null"], "vgg19 or compact must be given, got null for both"),
    ],
)
def test_bad_requests_are_one_line(capsys, photos, painting, common, change, message):
    photo = str(photos / "photo0.jpg")
    call = ["evaluate", "pictures", photo, "--photos", photo, "--paintings", painting]
    assert main([*call, *common, *change]) == 2
    error = capsys.readouterr().err
    assert error.startswith("nst-lightning: evaluate pictures: ")
    assert message in error
    assert error.count("\n") == 1
