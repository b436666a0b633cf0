"""Transfer networks: photo in, stylized picture out, in one pass."""

from nst_lightning.networks.checkpoint import load_network, network_record
from nst_lightning.networks.johnson import JohnsonNet

__all__ = ["JohnsonNet", "load_network", "network_record"]
