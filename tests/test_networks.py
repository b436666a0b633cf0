import pytest
import torch
from torch.nn import functional as F

from nst_lightning.networks import JohnsonNet, MultiStyleNet, load_network, network_record
from nst_lightning.networks.layers import ConvNorm, upsample


@pytest.mark.parametrize("downsamplings", [2, 3])
@pytest.mark.parametrize("upsampling", ["nearest", "bilinear"])
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (50, 35), (61, 64)])
def test_pictures_come_out_as_large_as_they_went_in(downsamplings, upsampling, size):
    network = JohnsonNet(4, 2, 3, downsamplings, [1, 3], upsampling)
    picture = network(torch.rand(2, 3, *size))
    assert picture.shape == (2, 3, *size)
    assert picture.min() >= 0
    assert picture.max() <= 1


def test_default_is_the_papers_network():
    network = JohnsonNet()
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    shapes = [tuple(c.weight.shape) + c.stride for c in convolutions]
    assert shapes == [
        (32, 3, 9, 9, 1, 1),
        (64, 32, 3, 3, 2, 2),
        (128, 64, 3, 3, 2, 2),
        *[(128, 128, 3, 3, 1, 1)] * 10,
        (64, 128, 3, 3, 1, 1),
        (32, 64, 3, 3, 1, 1),
        (3, 32, 9, 9, 1, 1),
    ]
    assert all(c.padding_mode == "reflect" for c in convolutions)
    assert not any(isinstance(module, torch.nn.ConvTranspose2d) for module in network.modules())


def test_dilation_widens_what_a_pixel_sees():
    def reach(dilations):
        """How far from its place a changed pixel changes the picture, with the normalization frozen."""
        torch.manual_seed(0)
        network = JohnsonNet(4, len(dilations), 3, 2, dilations)
        for module in network.modules():
            if isinstance(module, ConvNorm):
                module[1] = torch.nn.Identity()
        photo = torch.rand(1, 3, 160, 160)
        changed = photo.clone()
        changed[..., 80, 80] += 1
        rows = (network(photo) != network(changed)).any(1)[0].any(1).nonzero()
        return (rows.max() - rows.min()).item()

    assert reach([4, 4]) > reach([1, 1]) + 30


def test_upsampling_keeps_flat_areas_flat():
    for mode in ("nearest", "bilinear"):
        torch.testing.assert_close(
            upsample(torch.full((1, 2, 5, 4), 0.3), (10, 7), mode), torch.full((1, 2, 10, 7), 0.3)
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width must be >= 1, got 0"),
        ({"blocks": -1}, "blocks must be >= 0, got -1"),
        ({"kernel_size": 4}, "kernel_size must be odd, from 1 to 31, got 4"),
        ({"downsamplings": 4}, "downsamplings must be 2 or 3, got 4"),
        ({"dilations": [1, 2]}, r"dilations must be one number for each of the 5 blocks, got \[1, 2\]"),
        ({"dilations": [1, 2, 4, 2, 1], "downsamplings": 3}, "dilations must be from 1 to 3 at this depth"),
        ({"upsampling": "cubic"}, "upsampling must be nearest or bilinear, got 'cubic'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        JohnsonNet(**arguments)


@pytest.fixture
def checkpoint():
    network = JohnsonNet(4, 1, 3)
    return network, {
        "state_dict": {f"network.{key}": value for key, value in network.state_dict().items()},
        "transfer_network": network_record(network, {"style": "test"}),
    }


def test_checkpoints_rebuild_their_network(tmp_path, checkpoint):
    network, content = checkpoint
    torch.save(content, tmp_path / "a.ckpt")
    loaded, metadata = load_network(tmp_path / "a.ckpt")
    photo = torch.rand(1, 3, 40, 40)
    torch.testing.assert_close(loaded(photo), network(photo), rtol=0, atol=0)
    assert metadata == {"style": "test"}
    assert not loaded.training


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content, path: None, "no such checkpoint"),
        (lambda content, path: path.write_bytes(b"garbage"), "damaged, or not a checkpoint"),
        (lambda content, path: torch.save({"state_dict": {}}, path), "not of a transfer network"),
        (lambda content, path: torch.save([1, 2], path), "not of a transfer network"),
        (lambda content, path: torch.save({**content, "state_dict": {}}, path), "Missing key|Error"),
        (
            lambda content, path: torch.save(
                {**content, "transfer_network": {"class": "system", "init_args": {}, "metadata": {}}}, path
            ),
            "network must be system",
        ),
    ],
)
def test_foreign_checkpoints(tmp_path, checkpoint, spoil, message):
    path = tmp_path / "a.ckpt"
    spoil(checkpoint[1], path)
    with pytest.raises(ValueError, match=rf"{message}.*a\.ckpt|a\.ckpt: .*({message})"):
        load_network(path)


def test_bundled_checkpoints_have_names():
    network, metadata = load_network("johnson_base")
    assert isinstance(network, JohnsonNet)
    assert metadata["style"] == "The Great Wave off Kanagawa (1831)"
    with pytest.raises(
        ValueError, match=r"jonson: no such checkpoint; the package comes with johnson_base, .*, styles"
    ):
        load_network("jonson")


def test_truncated_checkpoint(tmp_path, checkpoint):
    torch.save(checkpoint[1], tmp_path / "whole.ckpt")
    (tmp_path / "cut.ckpt").write_bytes((tmp_path / "whole.ckpt").read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"cut\.ckpt: damaged"):
        load_network(tmp_path / "cut.ckpt")


def styled(names=("a", "b", "c"), seed=0):
    """A small network of several styles, whose numbers all differ."""
    torch.manual_seed(seed)
    network = MultiStyleNet(list(names), [4, 6, 8], 5, [1, 3])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (50, 35), (61, 64)])
def test_many_styles_keep_the_size_and_the_range(size):
    picture = styled()(torch.rand(2, 3, *size), torch.tensor([0.5, 0.5, 0.0]))
    assert picture.shape == (2, 3, *size)
    assert picture.min() >= 0
    assert picture.max() <= 1


def test_each_photo_has_its_own_style_strength_and_colors():
    network, photos = styled(), torch.rand(3, 3, 40, 48)
    controls = torch.eye(3), torch.tensor([1.0, 0.5, 0.2]), torch.tensor([0.0, 0.5, 1.0])
    together = network(photos, *controls)
    for i in range(3):
        alone = network(photos[i : i + 1], *(control[i : i + 1] for control in controls))
        torch.testing.assert_close(together[i : i + 1], alone)
    assert (
        network(photos[:1], torch.tensor([1.0, 0, 0])) - network(photos[:1], torch.tensor([0, 1.0, 0]))
    ).std() > 0.01


def test_the_defaults_are_the_first_style_in_full():
    network, photos = styled(), torch.rand(1, 3, 40, 48)
    torch.testing.assert_close(network(photos), network(photos, *network.controls.values()))
    assert {name: value.tolist() for name, value in network.controls.items()} == {
        "style": [1, 0, 0],
        "strength": [1],
        "preserve_color": [0],
    }


def test_no_grid_and_no_colored_fringes_of_single_pixels():
    """The blur of fours is that of pixels, also where they come from several positions of the last convolution.

    Luma is blurred a little, and what differs from it more.
    """
    fours = torch.rand(1, 12, 9, 7)
    found = pixels_of(F.conv2d(fours, styled().blur))
    pixels = pixels_of(fours)
    luma = torch.einsum("nchw,c->nhw", pixels, torch.tensor([0.299, 0.587, 0.114]))[:, None]
    expected = blurred(luma, [-1.0, 4.0, 10.0, 4.0, -1.0]) + blurred(pixels - luma, [2.0, 4.0, 4.0, 4.0, 2.0])
    torch.testing.assert_close(found, expected)


def blurred(picture, taps):
    kernel = torch.outer(*[torch.tensor(taps) / 16] * 2)
    return F.conv2d(picture.transpose(0, 1), kernel[None, None]).transpose(0, 1)


def pixels_of(fours):
    """A picture of channels that are columns, rows and colors, as torch makes it of colors, rows and columns."""
    return F.pixel_shuffle(fours.unflatten(1, (2, 2, 3)).transpose(1, 3).flatten(1, 3), 2)


def test_channels_of_the_last_convolution_become_pixels_as_torch_shuffles_them():
    network, channels = styled(), torch.randn(12)
    with torch.no_grad():
        network.tail.weight.zero_()
        network.tail.bias.copy_(channels)
    fours = channels.view(1, 12, 1, 1).expand(1, 12, 18, 18)  # with a margin for the blur
    expected = pixels_of(F.conv2d(fours, network.blur)).sigmoid()
    torch.testing.assert_close(network(torch.rand(1, 3, 32, 32)), expected)


def test_flat_photos_become_strokes_that_do_not_come_again():
    network, flat = styled(), torch.full((1, 3, 32, 1200), 0.5)
    picture = network(flat)
    torch.testing.assert_close(network(flat), picture)
    across = picture[0, :, 16, 100:-100]
    spread = across.std(dim=1).mean()  # of each color by itself
    for period in (8 * 51, 8 * 64):
        assert (across[:, period:] - across[:, :-period]).std() > 0.7 * spread
    elsewhere, around = (network(flat, noise_from=torch.tensor([0, columns])) for columns in (20, 51 * 64))
    assert (elsewhere - picture).abs().mean() > 0.7 * spread
    torch.testing.assert_close(around, picture)
    with torch.no_grad():
        network.noise.table.zero_()
    assert network(flat).std(dim=(2, 3)).max() < 1e-3


def test_strength_fades_to_the_photo():
    network, photos = styled(), torch.rand(2, 3, 40, 48)
    at = [network(photos, strength=torch.tensor([s])) for s in (0.0, 0.1, 0.3, 1.0)]
    torch.testing.assert_close(at[0], photos)
    distances = [(picture - photos).square().mean().item() for picture in at]
    assert distances == sorted(distances)
    assert distances[3] > 2 * distances[1]


def test_preserved_colors_are_the_photos_chroma_with_the_pictures_luma():
    network, photos = styled(), 0.4 + 0.2 * torch.rand(1, 3, 40, 48)
    with torch.no_grad():
        network.tail.weight *= 0.05  # stays within [0, 1], where nothing is clipped
    plain, kept = (network(photos, preserve_color=torch.tensor([keep]))[0] for keep in (0.0, 1.0))
    luma, chroma = rgb_to_ycbcr(plain)[0], rgb_to_ycbcr(photos[0])[1:]
    torch.testing.assert_close(rgb_to_ycbcr(kept), torch.cat([luma[None], chroma]), atol=1e-5, rtol=0)


def rgb_to_ycbcr(picture):
    """JPEG's definition, in float."""
    r, g, b = picture
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return torch.stack([y, 0.564 * (b - y), 0.713 * (r - y)])


def test_a_new_style_begins_as_the_average_and_leaves_the_others_as_they_were():
    network, photos = styled(), torch.rand(1, 3, 40, 48)
    before = network(photos, torch.eye(3)[1])
    average = network(photos, torch.full((3,), 1 / 3))
    network.add_styles(["d"])
    assert network.styles == ["d", "a", "b", "c"]  # the new one is the default
    torch.testing.assert_close(network(photos, torch.eye(4)[2]), before)
    torch.testing.assert_close(network(photos), average)
    with pytest.raises(ValueError, match="styles must be different names, got 'a'"):
        network.add_styles(["a"])


def test_styles_are_kept_as_they_were_in_any_order():
    network, photos = styled(), torch.rand(1, 3, 40, 48)
    before = [network(photos, weights) for weights in torch.eye(3)]
    network.keep_styles(["c", "a"])
    assert network.styles == network.init_args["styles"] == ["c", "a"]
    torch.testing.assert_close(network(photos), before[2])
    torch.testing.assert_close(network(photos, torch.eye(2)[1]), before[0])
    for wrong, message in (
        (["b"], "styles: there is no 'b'; styles: c, a"),
        (["a", "a"], "styles must be different names, got 'a'"),
    ):
        with pytest.raises(ValueError, match=message):
            network.keep_styles(wrong)


def test_weights_are_divided_by_their_sum_and_numbers_stay_in_range():
    network, photos = styled(), torch.rand(1, 3, 40, 48)
    half = torch.tensor([0.5, 0.5, 0])
    torch.testing.assert_close(network(photos, 6 * half), network(photos, half))
    assert network(photos, 0 * half).isfinite().all()
    torch.testing.assert_close(network(photos, half - torch.tensor([0, 0, 1])), network(photos, half))
    beyond, most = torch.tensor([1.5]), torch.tensor([1.0])
    torch.testing.assert_close(network(photos, half, beyond, beyond), network(photos, half, most, most))


def test_mixed_precision_is_for_convolutions_only(monkeypatch):
    def exactly(function):
        return lambda *args, **options: torch.autocast("cpu", enabled=False)(function)(*args, **options)

    for name in ("conv2d", "conv_transpose2d"):
        monkeypatch.setattr(torch.nn.functional, name, exactly(getattr(torch.nn.functional, name)))
    network, photos = styled(), torch.rand(1, 3, 40, 48)
    controls = torch.tensor([0.2, 0.5, 0.3]), torch.tensor([0.8]), torch.tensor([0.7])
    expected = network(photos, *controls)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(network(photos, *controls), expected)


def test_styles_that_do_not_fit_are_refused():
    photos = torch.rand(2, 3, 40, 48)
    with pytest.raises(ValueError, match="styles: the network has no styles yet"):
        MultiStyleNet()(photos)
    with pytest.raises(ValueError, match="style must be 3 weights, one for each style, got 6"):
        styled()(photos, torch.ones(6))


def test_a_network_of_many_styles_is_rebuilt_from_its_checkpoint(tmp_path):
    network, photos = styled(), torch.rand(1, 3, 40, 48)
    network.add_styles(["late"])
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    torch.save({"transfer_network": network_record(network, {}), "state_dict": state}, tmp_path / "x.ckpt")
    again, _ = load_network(tmp_path / "x.ckpt")
    assert again.styles == ["late", "a", "b", "c"]
    torch.testing.assert_close(again(photos, torch.eye(4)[2]), network(photos, torch.eye(4)[2]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": [8, 8]}, r"widths must be three numbers >= 2, got \[8, 8\]"),
        ({"block_width": 1}, "block_width must be >= 2, got 1"),
        ({"dilations": [1, 4]}, r"dilations must be numbers from 1 to 3, got \[1, 4\]"),
        ({"styles": ["a", "a"]}, "styles must be different names, got 'a'"),
        (
            {"styles": ["Café, night"]},
            "styles must be names without comma, colon, slash or surrounding blanks, got 'Café, night'",
        ),
        ({"styles": [""]}, "styles must be .*, got ''"),
    ],
)
def test_bad_options_of_many_styles(options, message):
    with pytest.raises(ValueError, match=message):
        MultiStyleNet(**options)
