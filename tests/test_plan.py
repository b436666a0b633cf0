import platform

import pytest
import torch
from PIL import Image

from nst_lightning.commands.warm_start import warm_start_options
from nst_lightning.optimization import OptimizeOptions
from nst_lightning.optimization.device import used_memory
from nst_lightning.optimization.plan import LEAST_HISTORY, plan
from nst_lightning.system import keep_freed_memory


def test_the_plan(encoder):
    def sizes(photo, **options):
        return [(level.width, level.height) for level in plan(photo, encoder, OptimizeOptions(**options))]

    assert sizes((200, 100), size=128, levels=5, factor=2) == [(64, 32), (128, 64)]  # relu5_1 needs 32 pixels
    assert sizes((200, 100), size=0, levels=1) == [(200, 100)]
    assert sizes((300, 300), size=384, factor=2) == [(96, 96), (192, 192), (384, 384)]
    levels = plan((4000, 3000), encoder, OptimizeOptions(size=2000, factor=2, refine_above=500, iterations=40))
    assert [(level.width, level.iterations) for level in levels] == [
        (125, 40),
        (250, 40),
        (500, 40),
        (1000, 7),
        (2000, 7),
    ]
    with pytest.raises(
        ValueError, match=r"a photo of 200x80 at size 64 is too small for .*is 26, and must be >= 32; size 80"
    ):
        sizes((200, 80), size=64)


def test_little_memory_makes_tiles_and_then_shortens_the_history(encoder, monkeypatch):
    monkeypatch.setattr("nst_lightning.optimization.plan.used_memory", lambda device: 1e9)

    def last(gigabytes):
        options = OptimizeOptions(size=4096, refine_iterations=12)
        return plan((4000, 3000), encoder, options, max_memory=gigabytes * 1e9)[-1]

    ample = last(1000)
    assert (ample.tile, ample.history) == (None, 12)
    with pytest.raises(ValueError, match=r"of 4128x3104, .* must be .* GB or more") as error:
        last(0.5)
    least = float(str(error.value).split(" GB or more")[0].split()[-1])
    scarce, enough = last(1.01 * least), last(least + 2.5)
    assert scarce.history == LEAST_HISTORY
    assert scarce.tile >= 256
    assert LEAST_HISTORY < enough.history <= 12
    assert enough.tile >= 512


@pytest.mark.parametrize(("size", "levels"), [(256, 1), (384, 2), (512, 2), (1024, 4), (4096, 8)])
def test_a_network_paints_at_the_size_it_knows(size, levels):
    network, picture = (lambda photo: photo), Image.new("RGB", (8, 8))
    assert warm_start_options(OptimizeOptions(size=size), (4000, 3000), network).levels == levels
    assert warm_start_options(OptimizeOptions(size=0), (size, 100), network).levels == levels
    assert warm_start_options(OptimizeOptions(size=size), (4000, 3000), picture).levels == 2
    assert warm_start_options(OptimizeOptions(size=size, levels=3), (4000, 3000), network).levels == 3


def test_wide_photos_and_warm_starts(encoder):
    def sizes(photo, warm=False, **options):
        levels = plan(photo, encoder, OptimizeOptions(**options), warm=warm)
        return [(level.width, level.height, level.iterations) for level in levels]

    shallow = {"style_layers": {"relu1_1": 1}, "content_layers": {"relu1_1": 1}, "factor": 2}
    assert sizes((6000, 1000), size=384, **shallow) == [(192, 32, 40), (384, 64, 40)]  # 16 would be all margin
    warm = {"size": 4000, "levels": 2, "factor": 2, "refine_above": 1000}
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
        options = OptimizeOptions(size=4096, style_scale=scale)
        with pytest.raises(ValueError, match=r"it must be .* GB or more") as error:
            plan((4000, 3000), encoder, options, max_memory=1.0)
        return float(str(error.value).split(" GB or more")[0].split()[-1])

    assert needed(4.0) - needed(1.0) == pytest.approx(15 * 3 * 12 * 4128 * 3104 / 1e9, rel=0.1)


def test_a_containers_limit(tmp_path, monkeypatch):
    from nst_lightning.optimization import device

    monkeypatch.setattr(device, "_CGROUP", tmp_path)
    free = device.free_memory(torch.device("cpu"))
    assert free > 1e8
    for name, text in (("max", "5000\n"), ("current", "4000\n"), ("stat", "anon 1\ninactive_file 500\nfile 7\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert device.free_memory(torch.device("cpu")) == 1500
    (tmp_path / "memory.max").write_text("max\n")
    assert device.free_memory(torch.device("cpu")) > 1e8
