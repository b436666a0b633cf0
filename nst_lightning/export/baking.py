"""One style or blend, at one strength, as a network of its own without further inputs."""

import json
from collections.abc import Mapping

from torch import Tensor, nn

from nst_lightning.errors import UserError
from nst_lightning.export.variant import blend_and_strength
from nst_lightning.networks import StyledNetwork
from nst_lightning.networks.checkpoint import PER_STYLE, per_style_metadata, per_style_text
from nst_lightning.system import normalize_keys


class BakedNetwork(nn.Module):
    """A network of several styles whose further inputs are constants.

    Args:
        network: the network; it keeps only the styles of the blend.
        bake: names of styles with weights, whose sum is the strength.

    Raises:
        UserError: the network has one style, a style is unknown, or the weights are not allowed.
    """

    def __init__(self, network: nn.Module, bake: Mapping[str, float]) -> None:
        super().__init__()
        if not isinstance(network, StyledNetwork):
            raise UserError.about("bake", "this network has one style, so its files have nothing else to leave out")
        self.blend, self.strength = blend_and_strength(normalize_keys(dict(bake)))
        try:
            network.keep_styles([*self.blend])
        except UserError as error:
            raise UserError.about("bake", str(error).removeprefix("styles: ")) from error
        self.network = network
        self.size_multiple: int = getattr(network, "size_multiple", 1)
        controls = network.controls
        for index, weight in enumerate(self.blend.values()):
            controls["style"][index] = weight
        if "strength" in controls:
            controls["strength"].fill_(self.strength)
        self.controls = nn.ParameterList(nn.Parameter(value, requires_grad=False) for value in controls.values())

    def forward(self, photos: Tensor) -> Tensor:
        """Stylize: RGB in [0, 1], shape (N, 3, H, W)."""
        picture: Tensor = self.network(photos, *self.controls)
        return picture

    def metadata(self, metadata: Mapping[str, str]) -> dict[str, str]:
        """The network's metadata for this one style."""
        values = per_style_metadata(metadata, [*self.blend])
        sizes = values.pop("sizes")
        if sizes.keys() >= self.blend.keys():
            size = {"size": str(round(sum(weight * sizes[name] for name, weight in self.blend.items())))}
        else:
            size = {}
        kept = {key: value for key, value in metadata.items() if key not in (*PER_STYLE, "size")}
        baked = {"style": self.blend, "strength": self.strength}
        style = ", ".join(self.blend)
        return kept | per_style_text(values, [*self.blend]) | size | {"style": style, "baked": json.dumps(baked)}
