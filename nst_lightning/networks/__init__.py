"""Transfer networks: photo in, stylized picture out, in one pass."""

from nst_lightning.networks.checkpoint import load_network, network_record
from nst_lightning.networks.johnson import JohnsonNet
from nst_lightning.networks.multi_style import MultiStyleNet
from nst_lightning.networks.styles import StyledNetwork, controls_of

__all__ = ["JohnsonNet", "MultiStyleNet", "StyledNetwork", "controls_of", "load_network", "network_record"]
