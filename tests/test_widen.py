import pytest
import torch

from nst_lightning.networks import JohnsonNet, MultiStyleNet, copy_into_larger

MULTI = {"widths": [4, 6, 8], "block_width": 5, "dilations": [1, 3]}
JOHNSON = {"width": 3, "blocks": 2, "kernel_size": 3, "dilations": [1, 2]}
LARGER_MULTI = [
    {"widths": [5, 9, 11]},
    {"widths": [4, 6, 9]},
    {"block_width": 8},
    {"dilations": [1, 2, 3]},
    {"dilations": [3, 1, 1, 3, 1]},
    {"widths": [8, 12, 16], "block_width": 10, "dilations": [2, 1, 3, 3]},
]
LARGER_JOHNSON = [
    {"width": 5},
    {"blocks": 4, "dilations": [3, 1, 1, 2]},
    {"width": 4, "blocks": 3, "dilations": [1, 2, 2]},
]


def built(cls, arguments):
    """A network all of whose parameters are random, so that none is that of another channel or style."""
    torch.manual_seed(0)
    styles = {"styles": ["ink", "glass", "wood"]} if cls is MultiStyleNet else {}
    network = cls(**styles, **arguments)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def grown(cls, small, changes):
    source = built(cls, small)
    torch.manual_seed(1)
    network = cls(*[["ink", "glass", "wood"]] * (cls is MultiStyleNet), **{**small, **changes})
    copy_into_larger(source, network)
    return source, network


@pytest.mark.parametrize("size", [(32, 32), (61, 47), (40, 96)])
@pytest.mark.parametrize("changes", LARGER_MULTI, ids=str)
def test_a_larger_network_of_many_styles_is_the_same_function(changes, size):
    source, network = grown(MultiStyleNet, MULTI, changes)
    photos = torch.rand(4, 3, *size, generator=torch.Generator().manual_seed(2))
    noise_from = torch.tensor([7, 3])
    for styles in (torch.eye(3)[[0, 1, 2, 1]], torch.tensor([0.2, 0.5, 0.3])):
        for strength in (torch.tensor([1, 0.7, 0.2, 0]), torch.ones(1)):
            for color in (torch.zeros(1), torch.tensor([0, 0.5, 1, 1])):
                controls = styles, strength, color, noise_from
                expected = source(photos, *controls)
                torch.testing.assert_close(network(photos, *controls), expected, rtol=0, atol=1e-5)
    single = source(photos[:1], styles)  # takes another way through the normalization
    torch.testing.assert_close(network(photos[:1], styles), single, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(32, 32), (61, 47)])
@pytest.mark.parametrize("changes", LARGER_JOHNSON, ids=str)
@pytest.mark.parametrize("downsamplings", [2, 3])
def test_a_larger_johnson_network_is_the_same_function(changes, size, downsamplings):
    source, network = grown(JohnsonNet, {**JOHNSON, "downsamplings": downsamplings}, changes)
    photos = torch.rand(2, 3, *size)
    torch.testing.assert_close(network(photos), source(photos), rtol=0, atol=1e-5)


def inputs_of(network, photos):
    if isinstance(network, JohnsonNet):
        return (photos,)
    return photos, torch.rand(len(photos), 3), torch.rand(len(photos))


@pytest.mark.parametrize(
    ("cls", "small", "changes"),
    [
        (MultiStyleNet, MULTI, LARGER_MULTI[-1]),
        (JohnsonNet, JOHNSON, {"width": 5, "blocks": 3, "dilations": [1, 3, 2]}),
    ],
)
def test_every_parameter_of_a_larger_network_learns(cls, small, changes):
    _, network = grown(cls, small, changes)
    torch.manual_seed(3)
    photos, target = torch.rand(4, 3, 48, 48), torch.rand(1, 3, 1, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for step in range(12):
        loss = (network(*inputs_of(network, photos)) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step == 3:  # zeros let gradients through as soon as they have changed
            for name, parameter in network.named_parameters():
                assert (parameter.grad != 0).float().mean().item() > 0.9, name  # but for ReLUs that are never active
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("cls", "small", "larger", "message"),
    [
        (MultiStyleNet, MULTI, {"widths": [8, 5, 8]}, r"^widths must be at least \[4, 6, 8\], .*, got \[8, 5, 8\]$"),
        (MultiStyleNet, MULTI, {"block_width": 4, "widths": [8, 8, 8]}, "^block_width must be at least 5, .*, got 4$"),
        (
            MultiStyleNet,
            MULTI,
            {"dilations": [3, 1]},
            r"^dilations must be \[1, 3\], with or .*\[3, 1\]$",
        ),
        (MultiStyleNet, MULTI, {"dilations": [1]}, r"^dilations must be \[1, 3\], with .*, got \[1\]$"),
        (JohnsonNet, JOHNSON, {"width": 2}, "^width must be at least 3, .*, got 2$"),
        (JohnsonNet, JOHNSON, {"width": 6, "kernel_size": 5}, "^kernel_size must be 3, to begin as .*, got 5$"),
        (JohnsonNet, JOHNSON, {"downsamplings": 3}, "^downsamplings must be 2, .*, got 3$"),
        (JohnsonNet, JOHNSON, {"width": 6, "upsampling": "bilinear"}, "^upsampling must be 'nearest', .*'bilinear'$"),
        (JohnsonNet, JOHNSON, {"blocks": 1, "dilations": [1]}, r"^dilations must be \[1, 2\], .*, got \[1\]$"),
    ],
)
def test_a_network_that_is_not_larger(cls, small, larger, message):
    with pytest.raises(ValueError, match=message):
        copy_into_larger(cls(**small), cls(**{**small, **larger}))
