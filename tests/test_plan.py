import platform

import pytest
import torch

from nst_lightning.errors import UserError
from nst_lightning.losses import ObjectiveOptions
from nst_lightning.optimization import PyramidOptions, plan_levels, shorten_for_warm_start
from nst_lightning.optimization.device import used_memory
from nst_lightning.optimization.plan import LEAST_HISTORY
from nst_lightning.system import keep_freed_memory


def test_the_plan(encoder):
    def sizes(photo, **options):
        return [(level.width, level.height) for level in plan_levels(photo, encoder, pyramid=PyramidOptions(**options))]

    assert sizes((200, 100), long_side=128, levels=5, factor=2) == [(64, 32), (128, 64)]  # relu5_1 needs 32 pixels
    assert sizes((200, 100), long_side=0, levels=1) == [(200, 100)]
    assert sizes((300, 300), long_side=384, factor=2) == [(96, 96), (192, 192), (384, 384)]
    pyramid = PyramidOptions(long_side=2000, factor=2, refine_above=500, iterations=40)
    levels = plan_levels((4000, 3000), encoder, pyramid=pyramid)
    assert [(level.width, level.iterations) for level in levels] == [
        (125, 40),
        (250, 40),
        (500, 40),
        (1000, 7),
        (2000, 7),
    ]
    message = (
        "a photo of 200x80 at long_side 64 is too small for relu5_1: its short side must be >= 32, got 26; "
        "a long_side of 80 would do"
    )
    with pytest.raises(UserError, match=message):
        sizes((200, 80), long_side=64)


def test_little_memory_makes_tiles_and_then_shortens_the_history(encoder, monkeypatch):
    monkeypatch.setattr("nst_lightning.optimization.plan.used_memory", lambda device: 1e9)

    def last(gigabytes):
        pyramid = PyramidOptions(long_side=4096, refine_iterations=12)
        return plan_levels((4000, 3000), encoder, pyramid=pyramid, max_memory=gigabytes * 1e9)[-1]

    ample = last(1000)
    assert (ample.tile, ample.history) == (None, 12)
    with pytest.raises(UserError, match=r"max_memory must be >= .* GB for a picture of 4128x3104, ") as error:
        last(0.5)
    least = _gigabytes(error)
    scarce, enough = last(1.01 * least), last(least + 2.5)
    assert scarce.history == LEAST_HISTORY
    assert scarce.tile >= 256
    assert LEAST_HISTORY < enough.history <= 12
    assert enough.tile >= 512


def _gigabytes(error):
    """How much a refusal names."""
    return float(str(error.value).split(" GB")[0].split()[-1])


@pytest.mark.parametrize(("long_side", "levels"), [(256, 1), (384, 2), (512, 2), (1024, 4), (4096, 8)])
def test_a_network_paints_at_the_size_it_knows(long_side, levels):
    def count(size, *, network=True, **options):
        return shorten_for_warm_start(PyramidOptions(**options), size, network=network).levels

    assert count((4000, 3000), long_side=long_side) == levels
    assert count((long_side, 100), long_side=0) == levels
    assert count((4000, 3000), network=False, long_side=long_side) == 2
    assert count((4000, 3000), long_side=long_side, levels=3) == 3


def test_levels_too_small_for_the_largest_scale_that_is_needed_are_left_out(encoder):
    def first(**options):
        objective = ObjectiveOptions(style_layers={"relu3_1": 1}, content_layers={"relu3_1": 1}, **options)
        return plan_levels(
            (64, 64), encoder, pyramid=PyramidOptions(long_side=64, levels=4, factor=2, margin=0), objective=objective
        )[0].width

    assert first(style_scales={1: 1.0, 8: 1.0}) == 8
    assert first(style_scales={2: 1.0, 8: 1.0}) == 16
    assert first(content_scale=4) == 32


def test_wide_photos_and_warm_starts(encoder):
    def sizes(photo, warm=False, objective=ObjectiveOptions(), **options):
        levels = plan_levels(photo, encoder, pyramid=PyramidOptions(**options), objective=objective, warm=warm)
        return [(level.width, level.height, level.iterations) for level in levels]

    shallow = ObjectiveOptions(style_layers={"relu1_1": 1}, content_layers={"relu1_1": 1})
    assert sizes((6000, 1000), long_side=384, factor=2, objective=shallow) == [
        (192, 32, 40),
        (384, 64, 40),
    ]  # 16 would be all margin
    warm = {"long_side": 4000, "levels": 2, "factor": 2, "refine_above": 1000}
    assert sizes((4000, 3000), warm=True, **warm) == [(2000, 1500, 7), (4000, 3000, 7)]
    assert sizes((4000, 3000), **warm) == [(2000, 1500, 40), (4000, 3000, 7)]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep no memory for us")
def test_memory_that_an_earlier_picture_had_is_not_used():
    keep_freed_memory()
    before = used_memory(torch.device("cpu"))
    tensors = [torch.ones(2**20) for _ in range(50)]
    assert used_memory(torch.device("cpu")) > before + 1.5e8
    del tensors
    assert used_memory(torch.device("cpu")) < before + 5e7


def test_large_paintings_are_counted(encoder):
    def needed(scale):
        pyramid = PyramidOptions(long_side=4096, painting_scale=scale)
        with pytest.raises(UserError, match=r"max_memory must be >= .* GB") as error:
            plan_levels((4000, 3000), encoder, pyramid=pyramid, max_memory=1.0)
        return _gigabytes(error)

    assert needed(4.0) - needed(1.0) == pytest.approx(15 * 3 * 12 * 4128 * 3104 / 1e9, rel=0.1)
