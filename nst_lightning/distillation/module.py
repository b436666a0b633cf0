"""Distillation: a narrow VGG learns, from scratch, to see as VGG-19 does."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nst_lightning import __version__
from nst_lightning.distillation.variations import vary
from nst_lightning.encoders import CompactEncoder, Encoder, Features, resize_tensor
from nst_lightning.encoders.compact import WIDTHS, NarrowVGG, save_narrow_vgg
from nst_lightning.errors import UserError, WorkError, require
from nst_lightning.images import expand_path, list_pictures, read_rgb, resize_short_side
from nst_lightning.losses import gram_loss, gram_matrix, normalize_weights
from nst_lightning.metrics import STYLE_LAYERS, ChannelCorrelation
from nst_lightning.networks.checkpoint import check_state, network_state
from nst_lightning.training.callbacks import run_folder
from nst_lightning.training.schedule import cosine_with_warmup

RECORD = "compact_encoder"
FILENAME = "compact_encoder.safetensors"
PAINTING_SIDE = 512


class Distillation(L.LightningModule):
    """Trains a `NarrowVGG` to match a teacher's features and Gram matrices (after Wang et al. 2020).

    Batches are photos, RGB in [0, 1], shape (N, 3, H, W). Some are exchanged for crops of paintings, and many are
    changed (see `vary`), since stylized pictures are no photographs. Checkpoints hold network and optimizer, not the
    teacher.

    Args:
        teacher: the encoder to learn from; must offer the first layer of each block that `widths` has.
        widths: channels of the blocks, a quarter of VGG-19's by default.
        init_from: file of a compact encoder to go on from, in place of random weights; its widths count.
        frozen: blocks up to whose first layer nothing changes: 3 keeps relu1_1, relu2_1 and relu3_1 as they are.
        paintings: folder of paintings to see as well; by default none.
        painting_share: the share of the photos that crops of paintings replace.
        layer_weights: shares of the layers in the loss; those not named have 1.
        gram_weight: of the Gram matrices' loss (relative to their energy), against 1 for the features'.
        learning_rate: the highest, of Adam; it falls to zero along a cosine over the run.
        warmup_steps: over which the learning rate rises from zero.
        seed: of the variations.

    Raises:
        UserError: a number is out of range, the teacher lacks a layer or doesn't fit `init_from`, or the folder has no
            paintings.
    """

    def __init__(
        self,
        teacher: Encoder,
        widths: list[int] = list(WIDTHS),  # noqa: B006 - shown in --help
        init_from: str | None = None,
        frozen: int = 0,
        paintings: str | None = None,
        painting_share: float = 0.2,
        layer_weights: dict[str, float] = {},  # noqa: B006
        gram_weight: float = 0.3,
        learning_rate: float = 1e-2,
        warmup_steps: int = 200,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, good, allowed in (
            ("widths", widths, 1 <= len(widths) <= 5 and min(widths) >= 1, "one to five numbers of 1 or more"),
            (
                "frozen",
                frozen,
                frozen == 0 or (frozen > 0 and init_from is not None),
                "0, or more with init_from",
            ),
            ("seed", seed, seed >= 0, "0 or more"),
            ("painting_share", painting_share, 0 <= painting_share <= 1, "from 0 to 1"),
            ("gram_weight", gram_weight, gram_weight >= 0, "0 or more"),
            ("learning_rate", learning_rate, learning_rate > 0, "more than 0"),
            ("warmup_steps", warmup_steps, warmup_steps >= 0, "0 or more"),
        ):
            require(name, value, good, allowed)
        if init_from is None:
            layers = STYLE_LAYERS[: len(widths)]
            teacher.require(layers)
            self.network = _with_norms(NarrowVGG(widths, _channels(teacher, layers)))
        else:
            self.network = CompactEncoder(init_from).network.requires_grad_()
            _check_channels(self.network, teacher, init_from)
        for name in _up_to(self.network, frozen):
            self.network[name].requires_grad_(False)
        self.layers = tuple(layer for layer in STYLE_LAYERS if "embed" + layer[4:] in self.network)[frozen:]
        if not self.layers:
            raise UserError(f"frozen must be less than the number of blocks, got {frozen}")
        unknown = [layer for layer in layer_weights if layer not in self.layers]
        if unknown or any(not weight > 0 for weight in layer_weights.values()):
            raise UserError(
                f"layer_weights must be numbers > 0 for some of {', '.join(self.layers)}, got {layer_weights}"
            )
        self.shares = normalize_weights("layer_weights", {layer: layer_weights.get(layer, 1) for layer in self.layers})
        self.teacher = teacher
        embedded = _channels(teacher, self.layers)
        for layer, channels in zip(self.layers, embedded):
            self.register_buffer(f"scale_{layer}", torch.ones(channels, 1, 1))
        self.register_buffer("measured", torch.tensor(init_from is not None))  # features have the teacher's scale then
        self.metrics = nn.ModuleDict({layer: ChannelCorrelation() for layer in self.layers})
        self.paintings = [] if paintings is None else [_pixels(path) for path in list_pictures(expand_path(paintings))]
        self.painting_share, self.gram_weight, self.seed = painting_share, gram_weight, seed
        self.learning_rate, self.warmup_steps = learning_rate, warmup_steps
        self.strict_loading = False  # checkpoints leave the frozen teacher out
        self.metadata = {"teacher": teacher.description, "version": __version__}

    def training_step(self, photos: Tensor, batch_idx: int) -> Tensor:
        """The loss of a batch of photos, paintings and variations of them, the same for the same step of a run."""
        position = (self.seed, self.global_step, self.global_rank, batch_idx)
        generator = torch.Generator().manual_seed(int(np.random.default_rng(position).integers(2**63)))
        pictures = vary(self._with_paintings(photos.cpu(), generator), generator).to(photos.device)
        with torch.no_grad():
            targets = self.teacher(pictures, self.layers)
            self._measure_scales(targets)
        losses = self._losses(self.network(pictures, self.layers), targets)
        for name, value in losses.items():
            self.log(f"train/{name}", value.detach(), prog_bar=True, batch_size=len(photos))
        return losses["loss"]

    def validation_step(self, photos: Tensor, batch_idx: int) -> None:
        """Losses, and per layer how well features agree, on held-out photos."""
        targets, features = self.teacher(photos, self.layers), self.network(photos, self.layers)
        for name, value in self._losses(features, targets).items():
            self.log(f"val/{name}", value, on_epoch=True, batch_size=len(photos), sync_dist=True)
        for layer in self.layers:
            self.metrics[layer].update(features[layer], targets[layer])

    def on_validation_epoch_end(self) -> None:
        """Log the medians over the held-out photos."""
        for layer, metric in self.metrics.items():
            self.log(f"val/correlation_{layer}", metric.compute(), sync_dist=True)
            metric.reset()

    def configure_optimizers(self) -> dict[str, Any]:
        """Adam with a linear warm-up and a cosine to zero over the run."""
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=self.learning_rate)
        return cosine_with_warmup(self.trainer, optimizer, warmup_steps=self.warmup_steps)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Stop before anything that isn't finite reaches the network, or a checkpoint."""
        gradients = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
        if not torch.nn.utils.get_total_norm(gradients).isfinite():
            raise WorkError(
                f"the gradients of step {self.global_step} are not finite; go on from the run's last.ckpt "
                "with a lower model.learning_rate, or with --trainer.precision 32-true"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the teacher out, and say what this is."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k: v for k, v in state.items() if not k.startswith(("teacher.", "metrics."))}
        checkpoint[RECORD] = self.metadata

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse the checkpoint of another network, and warn of another teacher."""
        check_state(network_state(checkpoint), self.network, "ckpt_path")
        before, now = checkpoint[RECORD]["teacher"], self.metadata["teacher"]
        if before != now:
            rank_zero_warn(f"model.teacher: the checkpoint learned from {before}, and goes on with {now}")

    def on_fit_end(self) -> None:
        """Write the weights for `CompactEncoder`, `compact_encoder.safetensors` in the run's folder."""
        path = run_folder(self.trainer) / FILENAME
        if self.trainer.is_global_zero:
            metadata = {**self.metadata, "steps": str(self.global_step)}
            save_narrow_vgg(self.encoder_network(), path, metadata)
            rank_zero_info(f"compact encoder: {path}")

    def encoder_network(self) -> NarrowVGG:
        """What was trained, the norms folded into the convolutions, with features of the teacher's scale."""
        folded = copy.deepcopy(self.network).eval()
        with torch.no_grad():
            for name, module in folded.items():
                if isinstance(module, nn.Sequential):
                    folded[name] = fuse_conv_bn_eval(*module)
                layer = "relu" + name[5:]
                if name.startswith("embed") and layer in self.layers:
                    folded[name].weight.mul_(self._scale(layer)[..., None])
                    folded[name].bias.mul_(self._scale(layer).flatten())
        return folded

    def _losses(self, features: Features, targets: Features) -> dict[str, Tensor]:
        """Squared differences of features, in units of each channel's scale (1 with `init_from`), and of Gram matrices.

        Both relative to the target's energy in each picture: noise, to which VGG-19 answers ten times as loudly as to
        photographs, would drown them otherwise.
        """
        feature, gram = 0.0, 0.0
        for layer, target in targets.items():
            scale = self._scale(layer)
            scaled = target / scale
            squares = (features[layer].float() - scaled).square().mean((1, 2, 3))
            relative = (squares / (scaled.square().mean((1, 2, 3)) + 0.05)).mean()
            feature = feature + self.shares[layer] * relative
            of_gram = gram_loss(gram_matrix(scale * features[layer]), gram_matrix(target)).mean()
            gram = gram + self.shares[layer] * of_gram
        return {"loss": feature + self.gram_weight * gram, "feature": feature, "gram": gram}

    def _scale(self, layer: str) -> Tensor:
        return self.get_buffer(f"scale_{layer}")

    def _measure_scales(self, targets: Features) -> None:
        """Once, in a run's first step: the RMS of each of the teacher's channels, but no less than a tenth of all."""
        if self.measured:
            return
        self.measured.fill_(True)
        for layer, target in targets.items():
            energy = self.trainer.strategy.reduce(target.float().square().mean((0, 2, 3)), reduce_op="mean")
            self._scale(layer).copy_(energy.clamp_min(0.01 * energy.mean()).sqrt().view(-1, 1, 1))

    def _with_paintings(self, photos: Tensor, generator: torch.Generator) -> Tensor:
        """Photos, some of them exchanged for crops of paintings at random scales."""
        if not self.paintings:
            return photos
        exchange = torch.rand(len(photos), generator=generator) < self.painting_share
        side = photos.shape[-1]
        return torch.stack([self._crop(side, generator) if x else photo for photo, x in zip(photos, exchange)])

    def _crop(self, side: int, generator: torch.Generator) -> Tensor:
        chosen, scale, down, across = torch.rand(4, generator=generator).tolist()
        painting = self.paintings[int(chosen * len(self.paintings))].float() / 255
        short_side = min(painting.shape[-2:])
        resized = resize_tensor(painting[None], round(side * (max(side, short_side) / side) ** scale))[0]
        top, left = (int(share * (n - side + 1)) for share, n in zip((down, across), resized.shape[-2:]))
        return resized[:, top : top + side, left : left + side]


def _with_norms(network: NarrowVGG) -> NarrowVGG:
    """The network with batch norms (Ioffe et al. 2015) after its convolutions, without which much of it dies early.

    The first layer begins almost linear (few of its ReLUs cut): VGG-19's 64 first filters are near a linear map of rank
    8 of the picture's neighborhoods, which 16 units that all cut half of it could only approach slowly.
    """
    for name, convolution in network.items():
        nn.init.kaiming_normal_(convolution.weight)
        norm = nn.BatchNorm2d(convolution.out_channels, momentum=0.02)
        nn.init.constant_(norm.weight, 0.7)
        nn.init.constant_(norm.bias, 2.0 if name == "conv1_1" else 0.5 if name.startswith("embed") else 0.2)
        network[name] = nn.Sequential(convolution, norm)
    return network


def _up_to(network: NarrowVGG, block: int) -> list[str]:
    """The convolutions and embeddings that relu1_1 to the block's first layer depend on."""
    firsts = (f"conv{block}_1", f"embed{block}_1")
    return [
        name for name in network if name in firsts or int(name.removeprefix("conv").removeprefix("embed")[0]) < block
    ]


def _check_channels(network: NarrowVGG, teacher: Encoder, path: str) -> None:
    teacher.require(network.layers)
    own = [network["embed" + layer[4:]].out_channels for layer in network.layers]
    expected = _channels(teacher, network.layers)
    if own != expected:
        raise UserError(f"init_from: {path} embeds in {own} channels; the teacher has {expected}")


def _channels(teacher: Encoder, layers: Sequence[str]) -> list[int]:
    with torch.no_grad():
        features = teacher(torch.zeros(1, 3, 64, 64), layers)
    return [found.shape[1] for found in features.values()]


def _pixels(path: Path) -> Tensor:
    """A painting, short side at most 512 pixels, as uint8 of shape (3, H, W)."""
    image = read_rgb(path)
    if min(image.size) > PAINTING_SIDE:
        image = resize_short_side(image, PAINTING_SIDE)
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())
