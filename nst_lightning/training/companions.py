"""Lightning's own callbacks beside the modules of this package: what some of them need, and which can't work."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import lightning as L
from lightning.pytorch import callbacks
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.nn.modules.module import _IncompatibleKeys

from nst_lightning.errors import UserError
from nst_lightning.training.resume import FoundAsLast

_REFUSED = {
    callbacks.StochasticWeightAveraging: "averages at the start of epochs: a run by trainer.max_steps ends with its "
    "first weights, and no run can be resumed exactly; use WeightAveraging or EMAWeightAveraging",
    callbacks.LearningRateFinder: "changes an attribute that the optimizer doesn't read; set optimizer.learning_rate",
    callbacks.BackboneFinetuning: "needs a module with a `backbone`; freeze_shared trains only what belongs to a style",
    callbacks.ModelPruning: "prunes the encoder of the losses as well, and renames tensors, so that no checkpoint fits",
    callbacks.SpikeDetection: "fails when a checkpoint is saved; non-finite gradients are handled without it",
}
"""Callbacks that can't work, and why."""


def check_trainer(trainer: L.Trainer, *, resumes: bool = False) -> None:
    """Refuse callbacks that can't work in a run of `fit`, see `check_callbacks`."""
    if trainer.state.fn == TrainerFn.FITTING:
        by_steps = trainer.max_epochs == -1
        check_callbacks(trainer.callbacks, by_steps=by_steps, resumes=resumes)  # type: ignore[attr-defined]


def check_callbacks(chosen: Sequence[L.Callback], *, by_steps: bool, resumes: bool) -> None:
    """Refuse callbacks of Lightning that can't work, or would end with other weights than anybody expects.

    Args:
        chosen: the callbacks of a run.
        by_steps: whether the run ends after a number of steps, and so has a single epoch.
        resumes: whether the run resumes from a checkpoint.

    Raises:
        UserError: there is such a callback; the message says why it can't work.
    """
    keeps_last = any(isinstance(callback, FoundAsLast) for callback in chosen)
    for callback in chosen:
        for refused, reason in _REFUSED.items():
            if isinstance(callback, refused):
                _refuse(callback, reason)
        if isinstance(callback, callbacks.GradientAccumulationScheduler) and by_steps:
            _refuse(
                callback,
                "needs epochs, but a run by trainer.max_steps has one; set trainer.accumulate_grad_batches instead",
            )
        if isinstance(callback, callbacks.BatchSizeFinder) and resumes:
            _refuse(callback, "would count the steps of a resumed run anew; set data.batch_size to what it found")
        if (
            isinstance(callback, callbacks.ModelCheckpoint)
            and callback.save_last
            and not callback.dirpath
            and keeps_last
        ):
            _refuse(callback, "with save_last would write over last.ckpt; give it a dirpath, or leave save_last out")


def _refuse(callback: L.Callback, reason: str) -> None:
    raise UserError.about("trainer.callbacks", f"{type(callback).__name__} {reason}")


def limit_state(module: nn.Module, *prefixes: str) -> None:
    """Leave everything out of a module's state but the tensors whose names begin in certain ways.

    That holds for loading, too, and where the module is a part of another one, such as the copy in which Lightning's
    `WeightAveraging` averages weights.
    """
    module.register_state_dict_post_hook(partial(_leave_out, prefixes))
    module.register_load_state_dict_post_hook(partial(_allow_missing, prefixes))


def _leave_out(prefixes: tuple[str, ...], module: nn.Module, state: dict[str, Tensor], prefix: str, _: Any) -> None:
    kept = tuple(prefix + each for each in prefixes)
    for key in [key for key in state if key.startswith(prefix) and not key.startswith(kept)]:
        del state[key]


def _allow_missing(prefixes: tuple[str, ...], module: nn.Module, keys: _IncompatibleKeys) -> None:
    names = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    left_out = tuple(name for name, _ in names if not name.startswith(prefixes))
    keys.missing_keys[:] = [key for key in keys.missing_keys if not key.endswith(left_out)]


def averages_weights(trainer: L.Trainer) -> bool:
    """Whether a callback of the run averages the network's weights."""
    return bool(_averaging(trainer))


def copy_again(trainer: L.Trainer, module: L.LightningModule) -> None:
    """Let callbacks that average weights copy a module anew, since its parameters have been replaced."""
    for callback in _averaging(trainer):
        callback.setup(trainer, module, "fit")


def save_averages(
    trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any], *, swapped: bool = False
) -> None:
    """Put averaged weights in a checkpoint where Lightning doesn't: in one of weights alone, and amid validation.

    Args:
        trainer: the trainer.
        module: the module that is saved.
        checkpoint: the checkpoint, to be changed.
        swapped: whether the module has the averaged weights and the copy those of training, as in validation.
    """
    for callback in _averaging(trainer):
        alone = "callbacks" not in checkpoint  # callbacks have not been asked
        if alone:
            callback.on_save_checkpoint(trainer, module, checkpoint)
        current = checkpoint.get("current_model_state")
        if swapped and current is not None:
            checkpoint["current_model_state"], checkpoint["state_dict"] = checkpoint["state_dict"], current
        if alone:  # these are needed only to resume
            for key in ("current_model_state", "averaging_state"):
                checkpoint.pop(key, None)


def restore_accumulation(trainer: L.Trainer) -> None:
    """Set the batches for each step where a run resumes within an epoch, which Lightning's scheduler doesn't do."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, callbacks.GradientAccumulationScheduler):
            trainer.accumulate_grad_batches = callback.get_accumulate_grad_batches(trainer.current_epoch)


def _averaging(trainer: L.Trainer) -> list[callbacks.WeightAveraging]:
    return [each for each in trainer.callbacks if isinstance(each, callbacks.WeightAveraging)]  # type: ignore[attr-defined]
