"""Transfer networks, which turn a photo into a stylized picture in one pass, and their checkpoints."""

import nst_lightning.needs_train  # noqa: F401
from nst_lightning.networks.checkpoint import load_network, network_record
from nst_lightning.networks.johnson import JohnsonNet
from nst_lightning.networks.multi_style import MultiStyleNet
from nst_lightning.networks.styles import StyledNetwork, controls_of, styles_of
from nst_lightning.networks.widen import copy_into_larger

__all__ = [
    "JohnsonNet",
    "MultiStyleNet",
    "StyledNetwork",
    "controls_of",
    "copy_into_larger",
    "load_network",
    "network_record",
    "styles_of",
]
