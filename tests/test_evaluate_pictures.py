import numpy as np
import pytest
from narrow_vgg16 import NarrowVGG16
from PIL import Image

from nst_lightning.cli import main
from nst_lightning.commands import evaluate_pictures, evaluation
from nst_lightning.encoders import CompactEncoder, image_to_tensor
from nst_lightning.images import read_rgb
from nst_lightning.metrics import Evaluator, EvaluatorGroup

HEADER = "size content style at 1 at 1/2 at 1/4 grit color grit"


def rows(capsys, header=HEADER):
    """Name, short side and figures of each row."""
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.split() == [*header.split(), "picture"]
    assert all(len(line.rpartition("  ")[0]) == len(first.removesuffix("  picture")) for line in lines)
    cells = [line.split() for line in lines]
    return [(name, int(short_side), np.array([*map(float, figures)])) for short_side, *figures, name in cells]


@pytest.fixture
def common(compact_weights):
    return ["--vgg19", "null", "--compact", compact_weights, "--short-side", "128"]


def test_the_photo_comes_first(capsys, photos, painting, common):
    photo = str(photos / "photo0.jpg")
    call = ["evaluate", "pictures", painting, photo, "--photos", photo, "--paintings", painting]
    assert main([*call, *common]) == 0
    (first, _, untouched), (second, _, painted), (third, _, again) = rows(capsys)
    assert (first, second, third) == ("photo0.jpg", "painting.png", "photo0.jpg")
    assert untouched[0] == 0  # the photo has its own content
    np.testing.assert_array_equal(untouched, again)
    assert painted[1] < 0.5 * untouched[1]  # the painting, squeezed to the photo's shape, has its own style


def test_each_picture_may_have_a_photo_of_its_own(capsys, photos, painting, common):
    first, second = (str(path) for path in sorted(photos.glob("*.jpg"))[:2])
    call = ["evaluate", "pictures", second, first, "--photos", first, "--photos", second, "--paintings", painting]
    assert main([*call, *common]) == 0
    found = rows(capsys)
    assert [name for name, *_ in found] == [name.rpartition("/")[2] for name in (first, second, second, first)]
    assert [figures[0] == 0 for *_, figures in found] == [True, False, True, False]


def test_pictures_are_compared_at_256_pixels_and_at_their_own_size(
    capsys, photos, painting, compact_weights, tmp_path, monkeypatch
):
    monkeypatch.setattr(evaluate_pictures, "MOST_SHORT_SIDE", 300)
    photo = photos / "photo0.jpg"
    with Image.open(painting) as drawn:
        for name, size in (("small", (150, 140)), ("large", (320, 280)), ("huge", (360, 320))):
            drawn.resize(size).save(tmp_path / f"{name}.png")
    files = [str(tmp_path / f"{name}.png") for name in ("small", "large", "huge")]
    call = ["evaluate", "pictures", *files, "--photos", str(photo), "--paintings", painting]
    assert main([*call, "--vgg19", "null", "--compact", compact_weights]) == 0
    found = rows(capsys)
    assert [(name, short_side) for name, short_side, _ in found] == [
        *(("photo0.jpg", 256), ("small.png", 256)),
        *(("photo0.jpg", 256), ("photo0.jpg", 280), ("large.png", 256), ("large.png", 280)),
        *(("photo0.jpg", 256), ("photo0.jpg", 300), ("huge.png", 256), ("huge.png", 300)),
    ]
    content, style, made = (image_to_tensor(read_rgb(path)) for path in (photo, painting, files[1]))
    expected = Evaluator(CompactEncoder(compact_weights), style, short_side=280).measure(made, content)[0]
    assert found[5][2] == pytest.approx(expected.numpy(), abs=6e-4)


def test_a_judge_and_sizes_of_ones_choice(capsys, photos, painting, common, compact_weights, monkeypatch):
    monkeypatch.setattr(evaluation, "VGG16", {"vgg16.pth": NarrowVGG16()}.get)
    photo = str(photos / "photo0.jpg")
    call = ["evaluate", "pictures", painting, "--photos", photo, "--paintings", painting, "--judge", "vgg16.pth"]
    assert main([*call, *common, "--short-side", "140"]) == 0
    found = rows(capsys, f"{HEADER} judge content judge style")
    assert [(name, short_side) for name, short_side, _ in found[2:]] == [("painting.png", 128), ("painting.png", 140)]
    content, style = (image_to_tensor(read_rgb(path)) for path in (photo, painting))
    group = EvaluatorGroup(CompactEncoder(compact_weights), style, short_sides=(128, 140), judge=NarrowVGG16())
    expected = group.measure(style, content)[0]
    np.testing.assert_allclose([row for *_, row in found[2:]], expected, atol=6e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--short-side", "64"], "short_side must be >= 128, got 64"),
        (["--photos", "b.png"], "photos must be one file, or one for each of the 1 pictures, got ["),
        (["--compact", "nowhere.pth"], "nowhere.pth"),
        (["--judge", "nowhere.pth"], "judge: VGG-16 weights: no such file: nowhere.pth"),
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


@pytest.mark.weights
def test_vgg16_judges_beside_the_bundled_encoders(capsys, shared):
    photo, painting = (str(shared / path) for path in ("photos/test/chicago.jpg", "styles/van_gogh_starry_night.jpg"))
    call = ["evaluate", "pictures", painting, "--photos", photo, "--paintings", painting, "--short-side", "128"]
    assert main([*call, "--judge", str(shared / "weights/vgg16_conv1_1-conv5_1.safetensors")]) == 0
    (_, _, untouched), (_, _, painted) = rows(capsys, f"{HEADER} judge content judge style")
    assert untouched[-2] == 0 < painted[-2]
    assert painted[-1] < 0.3 * untouched[-1]
