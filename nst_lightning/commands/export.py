"""The command `export`: writing a checkpoint as an ONNX file, and listing such files."""

from collections.abc import Sequence

from torch import nn

from nst_lightning.commands.export_list import list_files
from nst_lightning.commands.network_class import import_network
from nst_lightning.commands.pictures import expand_argument
from nst_lightning.errors import UserError, naming
from nst_lightning.export import Variant, export_onnx
from nst_lightning.inference.style_weights import parse_blend
from nst_lightning.networks import StyledNetwork, load_network
from nst_lightning.networks.checkpoint import per_style_metadata, per_style_text


def export(
    checkpoint: str | None = None,
    output: str | None = None,
    styles: list[str] | None = None,
    bake: str | None = None,
    variant: Variant = Variant(),
    network: str | None = None,
    list: str | None = None,
) -> None:
    """Export a checkpoint of `fit` as an ONNX file.

    Args:
        checkpoint: the .ckpt file, or the name of one that comes with the package, such as `styles`.
        output: the .onnx file to write.
        styles: the styles to export from a network of several styles, the default style first; by default all styles.
        bake: the only style of the file with its strength, such as `great_wave:0.7`, or a blend of weights that add up
            to the strength, such as `great_wave:0.4,udnie:0.3`. The file has no inputs but the photo. Unless it has a
            fixed size, heights and widths must be multiples of 8; `stylize` sees to that.
        variant: what the file is made for.
        network: class of the checkpoint's network, such as `my_module.UNet`, if it is not one of this package. Its
            module is imported, from the current folder too.
        list: an .onnx file, or a folder of them, to list instead, with each file's size, time for a picture, difference
            from the plain file of the same network, variant and inputs.
    """
    if list is not None:
        if (checkpoint, output, styles, bake, variant, network) != (None, None, None, None, Variant(), None):
            raise UserError.about("list", "no other option can be given with it, nor a checkpoint")
        list_files(expand_argument("list", list))
        return
    if checkpoint is None or output is None:
        raise UserError("checkpoint and output are needed, or list, the files to list")
    if bake is not None and styles is not None:
        raise UserError("styles can't be given with bake, which itself chooses the styles")
    with naming("checkpoint"):
        built, metadata = load_network(checkpoint, None if network is None else import_network(network))
    target = expand_argument("output", output)
    if styles is not None:
        metadata = _keep_styles(built, metadata, styles, checkpoint)
    difference = export_onnx(built, target, metadata=metadata, variant=variant, bake=_parse_bake(bake))
    print(f"{target}: largest difference from torch {difference.largest:.1e}, PSNR {difference.psnr:.0f} dB")


def _keep_styles(
    network: nn.Module, metadata: dict[str, str], styles: Sequence[str], checkpoint: str
) -> dict[str, str]:
    """Keep only some styles of a network, and return the metadata for them."""
    if not isinstance(network, StyledNetwork):
        raise UserError(f"styles can't be given for {checkpoint}, a network of one style")
    network.keep_styles(styles)
    kept = network.styles
    return metadata | per_style_text(per_style_metadata(metadata), kept) | {"style": ", ".join(kept)}


def _parse_bake(text: str | None) -> dict[str, float] | None:
    if text is None:
        return None
    weights: dict[str, float] = {}
    for name, weight in parse_blend(text, "bake"):
        weights[name] = weights.get(name, 0) + weight
    return weights
