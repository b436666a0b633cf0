"""Repositories for the Hugging Face Hub: the page as a static Space, networks with their cards, and checkpoints."""

from nst_lightning.hub.checkpoints import from_pretrained, push_to_hub
from nst_lightning.hub.folder import write_publication
from nst_lightning.hub.models import model_files
from nst_lightning.hub.space import space_files
from nst_lightning.hub.upload import upload_folder

__all__ = ["from_pretrained", "model_files", "push_to_hub", "space_files", "upload_folder", "write_publication"]
