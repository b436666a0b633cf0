"""Tiny training runs, for the tests of training."""

import lightning as L
import torch

from nst_lightning.encoders import CompactEncoder
from nst_lightning.losses import ObjectiveOptions
from nst_lightning.networks import JohnsonNet
from nst_lightning.training import OptimizerOptions, PhotoDataModule, build_style_transfer


def module_of(compact_weights, painting, network=None, *, optimizer=None, objective=None, **options):
    torch.manual_seed(0)
    network = network or JohnsonNet(4, 1, 3)
    return build_style_transfer(
        network,
        CompactEncoder(compact_weights),
        painting,
        optimizer=OptimizerOptions(**{"warmup_steps": 2, **(optimizer or {})}),
        objective=objective_of(**(objective or {})),
        **{"short_side": 64, **options},
    )


def objective_of(**options):
    layers = {"style_layers": {"relu1_1": 1.0, "relu2_1": 1.0}, "content_layers": {"relu3_1": 1.0, "relu4_1": 2.0}}
    return ObjectiveOptions(**{"style_weight": 5.0, "tv_weight": 0.2, **layers, **options})


def trainer_of(folder, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "limit_val_batches": 0}
    return L.Trainer(accelerator="cpu", default_root_dir=folder, **{**quiet, **options})


def data_of(photos, **options):
    return PhotoDataModule(str(photos), **{"short_side": 64, "batch_size": 2, "workers": 0, **options})


def weights_of(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.network.parameters()])
