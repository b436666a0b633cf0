"""The LightningModule: a transfer network learns a style under a perceptual loss."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn

from nst_lightning import __version__
from nst_lightning.encoders import Encoder, image_to_tensor, resize_tensor
from nst_lightning.errors import UserError, WorkError, require, suggest_names
from nst_lightning.images import expand_path, read_rgb, resize_short_side
from nst_lightning.losses import Normalization, ObjectiveOptions, PerceptualLoss
from nst_lightning.metrics import STYLE_LAYERS, Evaluator
from nst_lightning.networks import MultiStyleNet, network_record
from nst_lightning.networks.checkpoint import PREFIX, RECORD, check_state, network_state, per_style_metadata
from nst_lightning.training.muon import Muon
from nst_lightning.training.schedule import cosine_with_warmup
from nst_lightning.training.stability import disturb, unsteadiness
from nst_lightning.training.start import freeze_all_but_styles, start_from, start_paths
from nst_lightning.training.styles import Draw, Styles, style_files

_OPTIMIZER = "optimizer"
"""Which it was, in checkpoints."""
_OPTIMIZERS = {"adam": torch.optim.Adam, "muon": Muon}
STYLE_LAYERS_EVENLY = dict.fromkeys(STYLE_LAYERS, 1.0)


class StyleTransfer(L.LightningModule):
    """Trains a transfer network on photos to paint in one style (Johnson et al. 2016), or in many.

    Batches are photos, RGB in [0, 1], shape (N, 3, H, W). Checkpoints hold network and optimizer, not the encoder.

    Args:
        network: the transfer network, photos in, pictures of the same shape out: a `MultiStyleNet` for many styles.
        encoder: whose features the losses compare.
        style: the painting, a picture file; a `MultiStyleNet` calls its style by the file's name without the ending.
        size: short side of the photos in pixels; paintings are scaled to it, so that they are seen as the photos are.
            Of larger crops (`data.surroundings`) losses see a part of this size, or all shrunk to it, in turns.
        style_scale: enlarges the paintings, and with them the strokes, relative to the photos.
        styles: paintings by the names of their styles, in place of `style`, for a `MultiStyleNet`; or files alone,
            whose names without the endings are those of the styles.
        content_layers: layers whose features keep the photo's content, and their weights.
        style_layers: layers whose Gram matrices carry the style, and their weights.
        style_scales: factors by which pictures and painting are shrunk to compare style, and their weights: the first
            makes texture, the larger ones make strokes.
        content_scale: factor by which pictures and photos are shrunk to compare content.
        content_weight: weight of the content loss.
        style_weight: weight of the style loss (for `relative` losses): 5 keeps the subject, 12 begins to dissolve it.
        style_shares: of `style_weight` for single ones of `styles`, by their names, where it is too much or too little
            for them; by default 1.
        style_frequencies: how often single ones of `styles` are drawn, by their names, next to the others with 1: more
            for those that are hard to learn.
        tv_weight: weight of the total variation loss, against dots.
        grid_weight: weight of the difference between odd and even rows, and columns, for a `MultiStyleNet`, which makes
            pixels in pairs: 1 if all of it is trained.
        stability_weight: weight of the difference between pictures of a photo and of the same photo, moved by a few
            pixels and with noise: 10 for video, 0 spares the time.
        normalization: of the losses: `relative` to the target's energy, `gatys`, or `mean`.
        optimizer: `adam`, or `muon`, which makes more of each step where kernels are trained.
        learning_rate: the highest of the optimizer; it falls to zero along a cosine over the run.
        warmup_steps: over which the learning rate rises from zero.
        max_bad_steps: steps in a row with non-finite gradients, each skipped, after which training stops.
        init_from: a checkpoint of the same kind of network to start from, or the name of one that comes with the
            package, such as `styles`; or several, whose weights are averaged (Wortsman et al. 2022), such as two stages
            of training. A `MultiStyleNet` learns those of the run's styles that it doesn't have yet; the others of its
            own it keeps, but they change with it.
        only_new_styles: train only what belongs to the run's styles; the others of `init_from` stay as they are. Those
            of the same names go on from what it has.
        partial_strength: share of the pictures that a `MultiStyleNet` is trained on at a random strength.
        title: of the painting, for the model's metadata.
        painter: of the painting, for the model's metadata.
        credits: painter, title and year of `styles`, by their names, for the model's metadata.
        license: of the model, for its metadata.

    Raises:
        UserError: the painting can't be read, a weight or layer is not allowed, or `init_from` doesn't fit.
    """

    def __init__(
        self,
        network: nn.Module,
        encoder: Encoder,
        style: str | None = None,
        size: int = 256,
        style_scale: float = 1.0,
        styles: dict[str, str] | list[str] | None = None,
        content_layers: dict[str, float] = {"relu3_1": 1.0, "relu4_1": 2.0},  # noqa: B006 - shown in --help
        style_layers: dict[str, float] = STYLE_LAYERS_EVENLY,
        style_scales: dict[int, float] = {1: 0.6, 2: 0.25, 4: 0.15},  # noqa: B006
        content_scale: int = 1,
        content_weight: float = 1.0,
        style_weight: float = 5.0,
        style_shares: dict[str, float] = {},  # noqa: B006
        style_frequencies: dict[str, float] = {},  # noqa: B006
        tv_weight: float = 0.2,
        grid_weight: float = 0.0,
        stability_weight: float = 0.0,
        normalization: Normalization = "relative",
        optimizer: Literal["adam", "muon"] = "adam",
        learning_rate: float = 2e-3,
        warmup_steps: int = 100,
        max_bad_steps: int = 10,
        init_from: list[str] | str | None = None,
        only_new_styles: bool = False,
        partial_strength: float = 0.5,
        title: str | None = None,
        painter: str | None = None,
        credits: dict[str, str] | None = None,
        license: str | None = None,
    ) -> None:
        super().__init__()
        for name, value, good, allowed in (
            ("style_scale", style_scale, style_scale > 0, "more than 0"),
            ("optimizer", optimizer, optimizer in _OPTIMIZERS, " or ".join(_OPTIMIZERS)),
            ("learning_rate", learning_rate, learning_rate > 0, "more than 0"),
            ("warmup_steps", warmup_steps, warmup_steps >= 0, "0 or more"),
            ("max_bad_steps", max_bad_steps, max_bad_steps >= 1, "1 or more"),
            ("stability_weight", stability_weight, stability_weight >= 0, "0 or more"),
            ("partial_strength", partial_strength, 0 <= partial_strength <= 1, "0 to 1"),
        ):
            require(name, value, good, allowed)
        files = style_files(network, style, styles)
        self.network = network
        self.size = size
        self.optimizer_class = _OPTIMIZERS[optimizer]
        self.learning_rate, self.warmup_steps, self.max_bad_steps = learning_rate, warmup_steps, max_bad_steps
        self.stability_weight, self.partial_strength = stability_weight, partial_strength
        self._bad_steps = 0
        self.strict_loading = False  # checkpoints leave the frozen encoder out
        images = {name: read_rgb(expand_path(file)) for name, file in files.items()}
        self.loss = PerceptualLoss(
            encoder,
            [image_to_tensor(resize_short_side(image, round(size * style_scale))) for image in images.values()],
            ObjectiveOptions(
                content_layers=content_layers,
                style_layers=style_layers,
                style_scales=style_scales,
                content_scale=content_scale,
                content_weight=content_weight,
                style_weight=style_weight,
                tv_weight=tv_weight,
                grid_weight=grid_weight,
                normalization=normalization,
            ),
        )
        self.paintings = {name: resize_short_side(image, size) for name, image in images.items()}
        can_evaluate = set(STYLE_LAYERS) <= set(encoder.layers)
        paintings = [image_to_tensor(painting) for painting in self.paintings.values()] if can_evaluate else []
        self.evaluators = nn.ModuleList(Evaluator(encoder, painting) for painting in paintings)
        self.photo_evaluators = nn.ModuleList(Evaluator(encoder, painting) for painting in paintings)
        self._described = {
            "painter": painter or "",
            "encoder": encoder.description,
            "size": str(size),
            "style_scale": str(style_scale),
            "weights": f"content {content_weight}, style {style_weight}, variation {tv_weight}, "
            f"grid {grid_weight}, stability {stability_weight}, {normalization}",
            "version": __version__,
        }
        if not init_from and isinstance(network, MultiStyleNet) and set(network.styles) - set(files):
            raise UserError(
                f"network: {network.styles} must be styles of the run, which has no painting for "
                f"{', '.join(name for name in network.styles if name not in files)}"
            )
        starts = start_paths(init_from)
        known = start_from(starts, network, unchanged=only_new_styles) if starts else {}
        again = [name for name in files if name in getattr(network, "styles", ())]
        if starts and again:
            where = f"{starts[0]} has" if len(starts) == 1 else f"the average of {', '.join(map(str, starts))} has"
            rank_zero_info(f"{where} {', '.join(again)} already: the run goes on from there")
        if only_new_styles:
            freeze_all_but_styles(network, starts)
        self._styles = Styles(network, files, style_shares, style_frequencies)
        self.title = title or ", ".join(files)
        self._described["license"] = license or known.get("license", "")
        weights = {name: round(style_weight * style_shares.get(name, 1), 6) for name in files}
        own = {
            "credits": _credits(credits, self._styles, painter, title),
            "style_weights": weights,
            "sizes": dict.fromkeys(files, size),
        }
        before = per_style_metadata(known)
        if "size" in known:  # before styles had sizes of their own
            before["sizes"] = dict.fromkeys(self._styles.known, int(known["size"])) | before["sizes"]
        self._of_styles = {
            key: {name: said for name, said in of_all.items() if name not in files} | own[key]
            for key, of_all in before.items()
        }

    @property
    def metadata(self) -> dict[str, str]:
        """What checkpoints and ONNX files say of the network."""
        if not isinstance(self.network, MultiStyleNet):
            return {**self._described, "style": self.title}
        described = {**self._described, "style": ", ".join(self.network.styles)}
        described.pop("painter")  # credits say it of each style
        for key, said in self._of_styles.items():
            described[key] = json.dumps({name: said[name] for name in self.network.styles if name in said})
        return described

    def setup(self, stage: str) -> None:
        """Refuse precisions in which losses and Gram matrices would not be float32."""
        if self.trainer.precision.endswith("-true") and self.trainer.precision != "32-true":
            raise UserError(
                f"trainer.precision must be 32-true, bf16-mixed or 16-mixed, got {self.trainer.precision!r}"
            )

    def forward(self, photos: Tensor, style: int = 0) -> Tensor:
        """Stylized pictures, RGB in [0, 1], of photos of the same shape (N, 3, H, W).

        Args:
            photos: RGB in [0, 1].
            style: which of the run's styles.
        """
        return self._paint(photos, self._styles.one(style, len(photos)))

    def training_step(self, photos: Tensor, batch_idx: int) -> Tensor:
        """The perceptual loss of a batch of photos."""
        if batch_idx % 2:  # crops with surroundings: in turns as small photos, and as parts of large ones
            photos = resize_tensor(photos, min(self.size, *photos.shape[-2:]))
        run = getattr(self.trainer.datamodule, "seed", None) or 0  # other crops, other draws
        seed = (run, self.current_epoch, batch_idx, self.global_rank)
        draw = self._styles.draw(len(photos), partial=self.partial_strength, seed=seed)
        pictures = self._paint(photos, draw)
        seen = _cut_at_random(pictures, photos, largest=self.size, smallest=self.loss.minimum_size, seed=(*seed, 2))
        losses = self._losses(*seen, draw)
        if self.stability_weight:
            again, shift = disturb(photos, seed=(*seed, 1))
            losses["unsteadiness"] = unsteadiness(pictures, self._paint(again, draw), shift)
            losses["loss"] = losses["loss"] + self.stability_weight * losses["unsteadiness"]
        for name, value in losses.items():
            self.log(f"train/{name}", value.detach(), prog_bar=True, batch_size=len(photos))
        return losses["loss"]

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Skip a step whose gradients are not finite. All processes see the same gradients, so all skip it."""
        gradients = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
        if torch.nn.utils.get_total_norm(gradients).isfinite():
            self._bad_steps = 0
            return
        optimizer.zero_grad(set_to_none=True)  # an optimizer passes over parameters without gradient
        self._bad_steps += 1
        if self._bad_steps >= self.max_bad_steps:
            raise WorkError(
                f"the loss was not finite for {self._bad_steps} steps in a row, the last of them step "
                f"{self.global_step}; lower model.learning_rate or model.style_weight, or use 32-bit precision"
            )

    def validation_step(self, photos: Tensor, batch_idx: int) -> None:
        """Losses and the three figures of quality on held-out photos, which show the styles in turn."""
        self._evaluate(photos, "val", batch_idx % len(self.paintings))

    def test_step(self, photos: Tensor, batch_idx: int) -> None:
        """As in validation, every photo in every style, and the style figure of the photos themselves."""
        for style in range(len(self.paintings)):
            self._evaluate(photos, "test", style)

    def predict_step(self, photos: Tensor | None, batch_idx: int) -> Tensor | None:
        """Stylized pictures, in the first of several styles; None stands for a photo that can't be read."""
        return None if photos is None else self(photos)

    def on_validation_start(self) -> None:
        """Warn of styles that the held-out photos are too few for."""
        batches, styles = sum(self.trainer.num_val_batches), list(self.paintings)
        if batches < len(styles) and not self.trainer.sanity_checking:
            rank_zero_warn(
                f"validation (data.val, trainer.limit_val_batches) has fewer photos, {batches}, than there are styles, "
                f"which they show in turn: val/loss leaves out {', '.join(styles[batches:])}"
            )

    def on_validation_epoch_end(self) -> None:
        """Log the medians over the held-out photos."""
        self._log_figures("val")

    def on_test_epoch_end(self) -> None:
        """Log the medians over the test photos."""
        self._log_figures("test")

    def configure_optimizers(self) -> dict[str, Any]:
        """The optimizer, with a linear warm-up and a cosine to zero over the run."""
        optimizer = self.optimizer_class(self.network.parameters(), lr=self.learning_rate)
        return cosine_with_warmup(self.trainer, optimizer, warmup_steps=self.warmup_steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the encoder and the metrics out, and say which network this is."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {key: value for key, value in state.items() if key.startswith(PREFIX)}
        checkpoint[_OPTIMIZER] = self.optimizer_class.__name__.lower()
        metadata = {**self.metadata, "steps": str(self.trainer.global_step)}
        checkpoint[RECORD] = network_record(self.network, metadata)

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse the checkpoint of another network or optimizer; one of more styles than the run's has them all."""
        before, now = checkpoint.get(_OPTIMIZER, "adam"), self.optimizer_class.__name__.lower()
        if before != now and self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            raise UserError(f"ckpt_path: the checkpoint was trained with {before}; model.optimizer {now} can't go on")
        styles = checkpoint.get(RECORD, {}).get("init_args", {}).get("styles")
        if isinstance(self.network, MultiStyleNet) and styles is not None:
            self._styles.follow(styles)
            for key, before in per_style_metadata(checkpoint[RECORD]["metadata"]).items():
                self._of_styles[key] = before | self._of_styles[key]
        check_state(network_state(checkpoint), self.network, "ckpt_path")

    def _paint(self, photos: Tensor, draw: Draw) -> Tensor:
        return self.network(photos, **{name: value.to(photos.device) for name, value in draw.controls.items()})

    def _losses(self, pictures: Tensor, photos: Tensor, draw: Draw) -> dict[str, Tensor]:
        styles, factors = draw.paintings.to(photos.device), draw.shares.to(photos)
        return self.loss(pictures, photos, styles=styles, style_factors=factors)

    def _evaluate(self, photos: Tensor, stage: str, style: int) -> None:
        draw = self._styles.one(style, len(photos))
        pictures = self._paint(photos, draw)
        losses = self._losses(pictures, photos, draw)
        for name, value in losses.items():
            self.log(f"{stage}/{name}", value, on_epoch=True, batch_size=len(photos), sync_dist=True)
        if self.evaluators:
            self.evaluators[style].update(pictures, photos)
        if self.evaluators and stage == "test":
            self.photo_evaluators[style].update(photos, photos)

    def _log_figures(self, stage: str) -> None:
        """Of each style, and their average."""
        averages: dict[str, list[Tensor]] = {}
        for style, *evaluators in zip(self.paintings, self.evaluators, self.photo_evaluators):
            for name, value in _take(*evaluators):
                averages.setdefault(name, []).append(value)
                if len(self.paintings) > 1:
                    self.log(f"{stage}/{style}/{name}", value, sync_dist=True)
        for name, values in averages.items():
            self.log(f"{stage}/{name}", torch.stack(values).mean(), sync_dist=True)


def _take(pictures: Evaluator, photos: Evaluator) -> Iterator[tuple[str, Tensor]]:
    """Names and medians of the pictures' figures, and of the photos' own style if it was measured; begins anew."""
    for prefix, evaluator in (("", pictures), ("photo_", photos)):
        if evaluator.update_called:
            for name, value in evaluator.compute().items():
                if not prefix or name.startswith("style"):
                    yield f"{prefix}{name}_median", value
            evaluator.reset()


def _cut_at_random(*images: Tensor, largest: int, smallest: int, seed: tuple[int, ...]) -> list[Tensor]:
    """Cut images of the same shape (N, 3, H, W) to `largest`, or by a few pixels, at one place; none below `smallest`.

    The encoder pools pixels in pairs. If pairs were always the same rows and columns, a network that makes its pixels
    in pairs as well would learn to serve one of both, which is seen as a grid.
    """
    sides = images[0].shape[-2:]
    cut = [max(0, min(max(min(8, side // 16), side - largest), side - smallest)) for side in sides]
    top, left = np.random.default_rng(seed).integers(0, cut, endpoint=True).tolist()
    height, width = (side - less for side, less in zip(sides, cut))
    return [image[..., top : top + height, left : left + width] for image in images]


def _credits(given: Mapping[str, str] | None, styles: Styles, painter: str | None, title: str | None) -> dict[str, str]:
    """Painter and title of the network's styles; those of the run have what is said of the painting."""
    for name in given or {}:
        if name not in styles.known:
            raise UserError(f"model.credits: there is no {name!r}; {suggest_names(name, styles.known, 'styles')}")
    of_painting = ", ".join(filter(None, (painter, title)))
    return (dict.fromkeys(styles.files, of_painting) if of_painting else {}) | dict(given or {})
