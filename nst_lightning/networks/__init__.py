"""Transfer networks: photo in, stylized picture out, in one pass."""

from nst_lightning.networks.checkpoint import load_network, network_record
from nst_lightning.networks.johnson import JohnsonNet
from nst_lightning.networks.multi_style import MultiStyleNet

__all__ = ["JohnsonNet", "MultiStyleNet", "load_network", "network_record"]
