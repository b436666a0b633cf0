"""Preparation of a training run: reading paintings, loading checkpoints, adding styles to the network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info
from PIL import Image
from torch import nn

from nst_lightning import __version__
from nst_lightning.encoders import Encoder, build_encoder, image_to_tensor
from nst_lightning.errors import UserError, naming, prefixing, renaming, require_above, require_at_least
from nst_lightning.images import expand_path, expand_wildcards, read_rgb, resize_short_side
from nst_lightning.losses import ObjectiveOptions, PerceptualLoss
from nst_lightning.networks import StyledNetwork, styles_of
from nst_lightning.networks.checkpoint import per_style_metadata
from nst_lightning.networks.layers import MINIMUM_SIZE
from nst_lightning.system import normalize_keys, normalize_name
from nst_lightning.training.balance import StyleBalance
from nst_lightning.training.metadata import Metadata, Record
from nst_lightning.training.module import StyleTransfer
from nst_lightning.training.optimizer import OptimizerOptions
from nst_lightning.training.start import freeze_shared_parameters, load_start, start_paths
from nst_lightning.training.styles import StyleSampler


def build_style_transfer(
    network: nn.Module,
    encoder: Encoder | None = None,
    style: str | None = None,
    styles: dict[str, str] | list[str] | None = None,
    *,
    short_side: int = 256,
    painting_scale: float = 1.0,
    objective: ObjectiveOptions = ObjectiveOptions(),
    content_target: float | None = 0.75,
    partial_strength: float = 0.5,
    stability_weight: float = 0.0,
    optimizer: OptimizerOptions = OptimizerOptions(),  # noqa: B008
    init_from: list[str] | str | None = None,
    freeze_shared: bool = False,
    metadata: Metadata = Metadata(),  # noqa: B008
    judge: Encoder | None = None,
) -> StyleTransfer:
    """Make a transfer network ready for training in one style, or in several.

    Args:
        network: the transfer network, which maps photos to pictures of the same shape: a `MultiStyleNet` for several
            styles.
        encoder: the encoder whose features the losses compare. By default `CompressedVGG`, VGG-19's exact layers to
            relu3_1 and compressed deeper layers, which comes with the package; `CompactEncoder` is faster, and `VGG19`
            has every layer.
        style: the painting, a picture file. In a `MultiStyleNet`, the style has the file's name without the ending.
        styles: several paintings in place of `style`, for a `MultiStyleNet`: a mapping from names of styles to picture
            files, or a list of files, whose names without the endings become those of the styles.
        short_side: short side of photos and paintings, in pixels. Losses compare at most a square of this side.
        painting_scale: factor that enlarges the paintings, and with them the strokes, relative to the photos.
        objective: what the losses compare, and the weights.
        content_target: content loss that the pictures of each style are to have, from 0.1 to 0.9: the style weight of
            each style, which begins with `objective.style_weight`, is adapted to it, by a factor of 0.1 to 10, and
            styles that lag behind in style loss are drawn more often. `null` leaves weights as they are, and draws all
            styles alike.
        partial_strength: share of the pictures that a `MultiStyleNet` is trained on at a random strength.
        stability_weight: weight of the difference between the pictures of a photo and of the same photo, shifted by a
            few pixels and with noise: 10 for video; 0 leaves this loss out, which saves time.
        optimizer: how the network is optimized.
        init_from: a checkpoint of the same kind of network to start from, or the name of one that comes with the
            package, such as `styles`; or several, whose weights are averaged (Wortsman et al. 2022). A `MultiStyleNet`
            keeps the styles of the checkpoint, which change as the network is trained, and adds the run's new ones. A
            network with more channels or residual blocks than the checkpoint's begins as the same function.
        freeze_shared: train only the per-style parameters of the run's styles, so that the other styles of `init_from`
            stay as they are. Styles of the run that `init_from` has already are trained further.
        metadata: authors and license of the paintings and the model.
        judge: a second encoder, `VGG16`: validation measures content and style with it as well, at layers that nothing
            is trained with.

    Raises:
        UserError: a painting can't be read, a value isn't allowed, or `init_from` doesn't fit.
    """
    require_at_least(MINIMUM_SIZE, short_side=short_side)
    require_above(0, painting_scale=painting_scale)
    encoder = build_encoder() if encoder is None else encoder
    images = _read_paintings(network, style, styles)
    names, painting_side = list(images), round(short_side * painting_scale)
    paintings = [image_to_tensor(resize_short_side(image, painting_side)) for image in images.values()]
    with renaming(**{"objective.paintings": "styles" if styles else "style"}), prefixing("objective."):
        loss = PerceptualLoss(encoder, paintings, objective)
    earlier = _start(network, names, start_paths(init_from), freeze_shared=freeze_shared)
    balance = None if content_target is None else StyleBalance(names, content_target)
    if not (objective.style_weight and objective.content_weight):
        balance = None  # there is nothing to balance
    record = Record(
        title=metadata.title or ", ".join(names),
        painter=metadata.painter or "",
        settings={
            "encoder": encoder.description,
            "size": str(short_side),  # the names that apps and earlier files know
            "style_scale": str(painting_scale),
            "weights": _describe_weights(objective, stability_weight),
            "version": __version__,
            "license": metadata.license or earlier.get("license", ""),
        },
        per_style={
            "credits": metadata.credits_of(names, styles_of(network) or names),
            "style_weights": dict.fromkeys(names, objective.style_weight),
            "sizes": dict.fromkeys(names, short_side),
        },
    )
    return StyleTransfer(
        network,
        loss,
        StyleSampler(network, names, partial_strength=partial_strength),
        paintings=images,
        record=record.with_earlier(_other_styles(earlier, network, names)),
        short_side=short_side,
        stability_weight=stability_weight,
        optimizer=optimizer,
        balance=balance,
        judge=judge,
    )


def _read_paintings(
    network: nn.Module, style: str | None, styles: Mapping[str, str] | Sequence[str] | None
) -> dict[str, Image.Image]:
    """Paintings by the names of their styles."""
    with naming("styles" if styles else "style"):
        files = _painting_files(network, style, styles)
        return {name: read_rgb(expand_path(file)) for name, file in files.items()}


def _painting_files(
    network: nn.Module, style: str | None, styles: Mapping[str, str] | Sequence[str] | None
) -> dict[str, str]:
    if style is not None and not styles:
        return {_style_name(style): style}
    if style is not None or not styles:
        raise UserError.about("style", "give either style or styles, one painting or several, and null for the other")
    if not isinstance(network, StyledNetwork):
        raise UserError.about("styles", f"{type(network).__name__} has one style; give its painting as style")
    if isinstance(styles, Mapping):
        named, files = normalize_keys(styles), list(styles.values())
    else:
        files = [str(path) for pattern in styles for path in expand_wildcards(pattern)]
        named = {_style_name(file): file for file in files}
    if len(named) < len(files):
        problem = f"{files} would give two styles the same name; give a mapping, {{name: file}}"
        raise UserError.about("styles", problem)
    return named


def _style_name(file: str) -> str:
    """The name of a style, from its painting's file, without the special characters of blends."""
    return normalize_name(expand_path(file).stem).translate(str.maketrans(",:", "__")).strip()


def _start(network: nn.Module, names: Sequence[str], paths: Sequence[Path], *, freeze_shared: bool) -> dict[str, str]:
    """Load the checkpoints to start from, and add new styles; return the first checkpoint's metadata."""
    if freeze_shared and not (isinstance(network, StyledNetwork) and paths):
        raise UserError("freeze_shared needs a MultiStyleNet, and init_from", argument="freeze_shared")
    earlier = load_start(paths, network, same_arguments=freeze_shared) if paths else {}
    if not isinstance(network, StyledNetwork):
        return earlier
    missing = [name for name in network.styles if name not in names]
    if missing and not paths:
        raise UserError(
            f"network.init_args.styles must be styles of the run, but it has no painting for {', '.join(missing)}",
            argument="network.init_args.styles",
        )
    known = [name for name in names if name in network.styles]
    if paths and known:
        start = f"the average of {', '.join(map(str, paths))}" if len(paths) > 1 else str(paths[0])
        rank_zero_info(f"{start} has {', '.join(known)} already: training continues from it")
    network.add_styles([name for name in names if name not in network.styles])
    if freeze_shared:
        freeze_shared_parameters(network)
    return earlier


def _other_styles(earlier: Mapping[str, str], network: nn.Module, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The per-style metadata of a checkpoint for the styles that the run doesn't train."""
    parsed = per_style_metadata(earlier, styles_of(network))
    return {key: {name: value for name, value in given.items() if name not in names} for key, given in parsed.items()}


def _describe_weights(objective: ObjectiveOptions, stability_weight: float) -> str:
    return (
        f"content {objective.content_weight}, style {objective.style_weight}, variation {objective.tv_weight}, "
        f"its color {objective.tv_color}, grid {objective.grid_weight}, stability {stability_weight}, "
        f"{objective.normalization}"
    )
