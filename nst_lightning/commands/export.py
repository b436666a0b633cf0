"""The command `export`: a checkpoint as ONNX file."""

import json

from nst_lightning.errors import UserError
from nst_lightning.export import export_onnx
from nst_lightning.networks import MultiStyleNet, load_network
from nst_lightning.networks.checkpoint import per_style_metadata


def export(checkpoint: str, output: str, styles: list[str] | None = None, half: bool = False) -> None:
    """Export a checkpoint of `fit` as ONNX file.

    Args:
        checkpoint: the .ckpt file, or the name of one that comes with the package, such as `styles`.
        output: the .onnx file to write.
        styles: which of a network's many the file should have, the default one first; by default all.
        half: in float16, half as large; inputs and output stay float32.
    """
    network, metadata = load_network(checkpoint)
    if styles is not None:
        if not isinstance(network, MultiStyleNet):
            raise UserError(f"styles can't be given for {checkpoint}, a network of one style")
        network.keep_styles(styles)
        for key, said in per_style_metadata(metadata).items():
            metadata[key] = json.dumps({name: said[name] for name in styles if name in said})
        metadata["style"] = ", ".join(styles)
    difference = export_onnx(network, output, metadata=metadata, half=half)
    print(f"{output}: largest difference from torch {difference:.1e}")
