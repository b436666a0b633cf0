"""The command `export`: writing a checkpoint as an ONNX file."""

from nst_lightning.commands.network_class import import_network
from nst_lightning.errors import UserError, naming
from nst_lightning.export import export_onnx
from nst_lightning.images import expand_path
from nst_lightning.networks import StyledNetwork, load_network
from nst_lightning.networks.checkpoint import per_style_metadata, per_style_text


def export(
    checkpoint: str, output: str, styles: list[str] | None = None, half: bool = False, network: str | None = None
) -> None:
    """Export a checkpoint of `fit` as an ONNX file.

    Args:
        checkpoint: the .ckpt file, or the name of one that comes with the package, such as `styles`.
        output: the .onnx file to write.
        styles: the styles to export from a network of several styles, the default style first; by default all styles.
        network: class of the checkpoint's network, such as `my_module.UNet`, if it is not one of this package. Its
            module is imported, from the current folder too.
        half: store and compute in float16, which halves the file's size; inputs and output stay float32.
    """
    with naming("checkpoint"):
        built, metadata = load_network(checkpoint, None if network is None else import_network(network))
    with naming("output"):
        target = expand_path(output)
    if styles is not None:
        if not isinstance(built, StyledNetwork):
            raise UserError(f"styles can't be given for {checkpoint}, a network of one style")
        built.keep_styles(styles)
        kept = built.styles
        metadata |= per_style_text(per_style_metadata(metadata), kept) | {"style": ", ".join(kept)}
    difference = export_onnx(built, target, metadata=metadata, half=half)
    print(f"{target}: largest difference from torch {difference:.1e}")
