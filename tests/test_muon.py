import pytest
import torch

from nst_lightning.training.muon import Muon, orthogonalize


def parameters(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def descend(optimizer, trained, steps=10):
    """Towards the same moving targets, whatever the optimizer; parameters may be flattened."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        for parameter in trained:
            target = torch.randn(parameter.numel(), generator=generator)
            (parameter.flatten() - target).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("shape", [(8, 3, 3, 3), (40, 2, 3, 3), (6, 6, 1, 1)])
def test_kernels_move_as_torch_moves_matrices(shape):
    (kernel,) = parameters(shape)
    matrix = torch.nn.Parameter(kernel.detach().flatten(1).clone())
    start = matrix.detach().clone()
    descend(Muon([kernel], lr=0.01), [kernel])
    descend(torch.optim.Muon([matrix], lr=0.01, weight_decay=0, adjust_lr_fn="match_rms_adamw"), [matrix])
    moved = (matrix - start).norm()
    assert (kernel.flatten(1) - matrix).norm() < 0.03 * moved  # torch orthogonalizes in bfloat16


def test_everything_else_moves_as_under_adam():
    ours, theirs = parameters((5,), (2, 3, 4)), parameters((5,), (2, 3, 4))
    descend(Muon(ours, lr=0.01), ours)
    descend(torch.optim.Adam(theirs, lr=0.01), theirs)
    for found, expected in zip(ours, theirs):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shape", [(7, 20), (20, 7), (9, 9)])
def test_singular_values_come_near_one(shape):
    values = torch.linalg.svdvals(orthogonalize(1000 * parameters(shape)[0]))
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_nothing_to_go_by_moves_nothing():
    still, without = parameters((4, 3, 3, 3), (4, 3, 3, 3))
    still.grad = torch.zeros_like(still)
    before = still.detach().clone(), without.detach().clone()
    Muon([still, without], lr=1.0).step()
    assert torch.equal(still, before[0])
    assert torch.equal(without, before[1])


def test_goes_on_from_its_state():
    whole, parts = (parameters((4, 3, 3, 3), (5,)) for _ in range(2))
    first = Muon(whole, lr=0.01)
    descend(first, whole)
    descend(first, whole)
    earlier = Muon(parts, lr=0.01)
    descend(earlier, parts)
    later = Muon(parts, lr=0.5)
    later.load_state_dict(earlier.state_dict())
    descend(later, parts)
    assert all(torch.equal(a, b) for a, b in zip(whole, parts))


def test_the_closure_is_called_with_gradients():
    (parameter,) = parameters((3,))
    before = parameter.detach().clone()

    def closure():
        loss = parameter.square().sum()
        loss.backward()
        return loss

    assert Muon([parameter], lr=0.1).step(closure).item() == pytest.approx(before.square().sum().item())
    assert not torch.equal(parameter, before)
