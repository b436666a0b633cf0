"""Tiny training runs, for the tests of training."""

import lightning as L
import torch

from nst_lightning.encoders import CompactEncoder
from nst_lightning.networks import JohnsonNet
from nst_lightning.training import PhotoDataModule, StyleTransfer


def module_of(compact_weights, painting, **options):
    torch.manual_seed(0)
    network = JohnsonNet(4, 1, 3)
    options = {"size": 64, "style_layers": {"relu1_1": 1.0, "relu2_1": 1.0}, "warmup_steps": 2, **options}
    return StyleTransfer(network, CompactEncoder(compact_weights), painting, **options)


def trainer_of(folder, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "limit_val_batches": 0}
    return L.Trainer(accelerator="cpu", default_root_dir=folder, **{**quiet, **options})


def data_of(photos, **options):
    return PhotoDataModule(str(photos), **{"size": 64, "batch_size": 2, "workers": 0, **options})


def weights_of(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.network.parameters()])
