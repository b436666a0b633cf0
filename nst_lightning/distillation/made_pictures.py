"""Pictures that are made while a network learns: by a transfer network, and by optimization against the network itself.

Losses show an encoder hardly anything else, and a network that never saw such pictures is easily satisfied by them.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nst_lightning.distillation.paintings import PaintingCrops
from nst_lightning.losses import gram_loss, gram_matrix, total_variation_loss
from nst_lightning.networks import load_network, styles_of
from nst_lightning.training.styles import StyleSampler

STEP = 0.025
"""How far a value of an optimized picture moves in a step."""
DECAYS = (0.9, 0.99)
STYLE_WEIGHTS = (4.0, 60.0)
TV_WEIGHT = 2.0
LIVES = (15, 90)
"""Number of steps after which an optimized picture is replaced, at least and at most."""
POOL = 4
"""How many times as many pictures are optimized as each batch has."""


class StylizedPictures(nn.Module):
    """Pictures in the styles of a transfer network, half of them at a random strength.

    Args:
        path: checkpoint of the network, or the name of one that comes with the package.
        share: share of the pictures that are stylized.

    Raises:
        UserError: the checkpoint can't be loaded.
    """

    def __init__(self, path: str, *, share: float) -> None:
        super().__init__()
        self.network = load_network(path)[0].requires_grad_(False)
        self.sampler = StyleSampler(self.network, styles_of(self.network) or ["its style"])
        self.share = share

    def mix_in(self, pictures: Tensor, originals: Tensor, *, seed: Sequence[int]) -> Tensor:
        """Replace the first of the pictures by stylized originals; both are RGB in [0, 1], shape (N, 3, H, W)."""
        count = round(self.share * len(pictures))
        if not count:
            return pictures
        drawn = self.sampler.sample(count, seed=seed).controls
        controls = {name: value.to(pictures.device) for name, value in drawn.items()}
        with torch.no_grad():
            made = self.network(originals[:count], **controls)
        return torch.cat([made.float().clamp(0, 1), pictures[count:]])


class OptimizedPictures:
    """Pictures that are being optimized with the network's own features, by a step of Adam each time they are used.

    What satisfies the network and not its teacher is thus shown to it. A checkpoint has the pictures of the first
    process; where several train, the others' start anew when the run is resumed.

    Args:
        paintings: where the styles come from; without paintings, from other photos.
        share: share of the pictures of a batch that are replaced.

    Attributes:
        state: a row for each picture, of tensors by name.
    """

    def __init__(self, paintings: PaintingCrops, *, share: float) -> None:
        self.share, self.state = share, dict[str, Tensor]()
        self._paintings = paintings

    def mix_in(self, pictures: Tensor, photos: Tensor, network: nn.Module, generator: torch.Generator) -> Tensor:
        """Replace the last of the pictures of a batch by optimized ones, which make a step.

        Args:
            pictures: RGB in [0, 1], shape (N, 3, S, S).
            photos: photos of the same shape, with which new pictures begin.
            network: the network in training, which has `layers` from shallow to deep.
            generator: source of the randomness, on the CPU.
        """
        count = round(self.share * len(pictures))
        if not count:
            return pictures
        self._renew(photos[:count], POOL * count, generator)
        used = torch.randperm(len(self.state["age"]), generator=generator)[:count]
        drawn = {name: value[used] for name, value in self.state.items()}
        for name, value in _step(drawn, network).items():
            self.state[name][used] = value
        return torch.cat([pictures[:-count], drawn["picture"]])

    def _renew(self, photos: Tensor, most: int, generator: torch.Generator) -> None:
        """Add new pictures up to a number, or put them in place of old ones."""
        new = self._begin(photos, generator)
        self.state = {name: value.to(photos.device) for name, value in self.state.items()}
        if len(self.state.get("age", ())) < most:
            self.state = {name: torch.cat([self.state.get(name, value[:0]), value]) for name, value in new.items()}
        old = (self.state["age"] >= self.state["life"]).nonzero().flatten()[: len(photos)]
        for name, value in new.items():
            self.state[name][old] = value[: len(old)]

    def _begin(self, photos: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        count, (low, high) = len(photos), map(math.log, STYLE_WEIGHTS)
        weight = torch.exp(low + (high - low) * torch.rand(count, generator=generator))
        life = torch.randint(LIVES[0], LIVES[1] + 1, (count,), generator=generator)
        return {
            "photo": photos,
            "painting": self._paintings.crop_like(photos.roll(1, 0), generator),
            "picture": photos,
            "first": torch.zeros_like(photos),
            "second": torch.zeros_like(photos),
            "age": torch.zeros(count, device=photos.device),
            "life": life.to(photos),
            "weight": weight.to(photos),
        }


def _step(drawn: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """A step of Adam for each of the pictures."""
    kind, trains = drawn["picture"].device.type, network.training
    network.eval()
    # a cache of weights in half precision, made without gradients, would keep the training step from having any
    with torch.autocast(kind, enabled=torch.is_autocast_enabled(kind), cache_enabled=False), torch.enable_grad():
        picture = drawn["picture"].detach().requires_grad_()
        loss = _loss(picture, drawn["photo"], drawn["painting"], drawn["weight"], network)
        (gradient,) = torch.autograd.grad(loss, picture)
    network.train(trains)
    age = drawn["age"] + 1
    first = drawn["first"].lerp(gradient, 1 - DECAYS[0])
    second = drawn["second"].lerp(gradient.square(), 1 - DECAYS[1])
    corrected = ((1 - decay**age).view(-1, 1, 1, 1) for decay in DECAYS)
    direction = first / next(corrected) / ((second / next(corrected)).sqrt() + 1e-12)
    moved = (picture.detach() - STEP * direction).clamp(0, 1)
    return {"picture": moved, "first": first, "second": second, "age": age}


def _loss(picture: Tensor, photo: Tensor, painting: Tensor, weight: Tensor, network: nn.Module) -> Tensor:
    """Content at the layer before the deepest, style at all layers and total variation, as `optimize` has them."""
    layers: tuple[str, ...] = network.layers  # type: ignore[assignment]
    content_layer = layers[-2:][0]
    with torch.no_grad():
        content, targets = network(photo, [content_layer])[content_layer].float(), network(painting, layers)
    found = network(picture, layers)
    style = torch.stack([gram_loss(gram_matrix(found[name]), gram_matrix(targets[name])) for name in layers]).mean(0)
    squares = (found[content_layer].float() - content).square().sum((1, 2, 3))
    relative = squares / (content.square().sum((1, 2, 3)) + 1e-8)
    return (weight * style + relative).sum() + len(picture) * TV_WEIGHT * total_variation_loss(picture)
