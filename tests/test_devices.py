"""What a training step asks of a GPU, on a fake one: tensors that have a device and a shape, but no values."""

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from training_runs import module_of

from nst_lightning.networks import MultiStyleNet
from nst_lightning.training.crop import crop_at_random

SMALL = 64  # values: styles, strengths and the like


class Traffic(TorchDispatchMode):
    """Notes what is copied to the device, what is computed beside it, and how often the device is waited for."""

    def __init__(self):
        super().__init__()
        self.copied, self.beside, self.waits = [], [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        name = function._schema.name
        device = found.device.type if isinstance(found, torch.Tensor) else None
        sources = [each for each in args if isinstance(each, torch.Tensor)]
        if name in ("aten::_local_scalar_dense", "aten::nonzero"):
            self.waits += any(each.device.type == "cuda" for each in sources)
        elif name in ("aten::_to_copy", "aten::copy_") and device == "cuda" and sources[-1].device.type == "cpu":
            self.copied.append(found.numel())
        elif device == "cpu" and found.numel() > SMALL:
            self.beside.append((name, tuple(found.shape)))
        return found


def move(module):
    """Put the parameters and buffers of a module on the fake device."""
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, value in tensors.items():
                if value is not None:
                    moved = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="cuda")
                    trained = isinstance(value, nn.Parameter)
                    tensors[name] = nn.Parameter(moved, requires_grad=value.requires_grad) if trained else moved


def loss_of_a_step(module, photos, seed):
    """What a training step computes before its gradient, which a fake device has only beside a real one."""
    targets = module.sampler.sample(len(photos), seed=seed)
    pictures = module._paint(photos, targets)
    smallest = module.loss.minimum_size
    crops = crop_at_random(pictures, photos, largest=module.short_side, smallest=smallest, seed=seed)
    return module.losses(*crops, targets)["loss"]


def test_a_step_computes_on_the_device_and_does_not_wait_for_it(compact_weights, painting):
    network = MultiStyleNet(widths=[4, 8, 8], block_width=8, dilations=[1])
    objective = {"tv_color": 0, "style_scales": {1: 0.5, 2: 0.5}}  # its 3x3 matrix would be read, on the CPU
    module = module_of(compact_weights, str(painting), network, objective=objective)
    with FakeTensorMode(allow_non_fake_inputs=True):
        move(module)
        photos = torch.rand(2, 3, 96, 96, device="cuda")
        loss_of_a_step(module, photos, (0,))  # the first one measures the painting
        with Traffic() as traffic:
            loss = loss_of_a_step(module, photos, (1,))
    assert traffic.waits == 0
    assert traffic.beside == []
    assert max(traffic.copied) <= SMALL
    assert loss.device.type == "cuda"
