"""The page that stylizes pictures in the browser, and the server that hands it out."""

from nst_lightning.serving.models import OfferedModel, read_models
from nst_lightning.serving.server import PageServer
from nst_lightning.serving.site import build_site

__all__ = ["OfferedModel", "PageServer", "build_site", "read_models"]
