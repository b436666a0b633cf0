"""The balance of content and style in training."""

import json

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from training_runs import data_of, module_of, trainer_of

from nst_lightning.networks import JohnsonNet, MultiStyleNet, load_network
from nst_lightning.training import LastCheckpoint, StyleBalance


class SimulatedRun:
    """A network whose content follows its style weights with a lag, as photos of different contents show it.

    Args:
        balance: what adapts the weights.
        at_one: content of each style with a factor of 1, once the network has followed.
        losses: style loss of each style.
    """

    def __init__(self, balance, at_one, losses=None):
        self.balance, self.at_one = balance, np.array(at_one)
        self.losses = np.ones(len(at_one)) if losses is None else np.array(losses)
        self.painted = np.zeros(len(at_one))  # logarithms of the factors that the network has followed
        self.random = np.random.default_rng(0)

    @property
    def content(self):
        return self.at_one * np.exp(0.4 * self.painted)

    def step(self, speed, styles):
        self.painted += speed * (self.balance.factors.log().numpy() - self.painted) / 40
        sums = np.zeros((len(self.at_one), 4))
        for style in styles:
            energy, content = self.random.uniform(0.2, 2), self.content[style] * self.random.uniform(0.4, 1.6)
            sums[style] += [content * energy, energy, self.losses[style], 1]
        self.balance.update(torch.from_numpy(sums).float(), speed=speed)

    def run(self, steps):
        """Run for some steps, and return the contents after each."""
        contents = []
        for step in range(steps):
            self.step(speed_at(step, steps), range(len(self.at_one)))
            contents.append(self.content)
        return np.array(contents)


def speed_at(step, steps):
    """The share of the highest learning rate, with 20 steps of warm-up."""
    return (step + 1) / 20 if step < 20 else 0.5 * (1 + np.cos(np.pi * (step - 20) / (steps - 20)))


@pytest.mark.parametrize("at_one", [[0.25, 0.8], [0.42, 0.6], [0.18, 0.9]])
def test_content_reaches_the_target_and_stays_there(at_one):
    run = SimulatedRun(StyleBalance(["a", "b"], 0.42), at_one)
    contents = run.run(800)
    assert contents[-200:] == pytest.approx(0.42, abs=0.035)
    below, above = contents.min(0), contents.max(0)
    assert (np.minimum(at_one, 0.42) - below < 0.08).all()
    assert (above - np.maximum(at_one, 0.42) < 0.08).all()


@pytest.mark.parametrize(("at_one", "factor"), [(0.05, 10), (3.0, 0.1)])
def test_factors_are_bounded(at_one, factor):
    run = SimulatedRun(StyleBalance(["a"], 0.42), [at_one])
    run.run(1000)
    assert run.balance.factors.item() == pytest.approx(factor)


def test_the_first_tenth_of_a_run_is_left_alone():
    run = SimulatedRun(StyleBalance(["a"], 0.42), [2.0])  # a network that can't paint yet
    for step in range(400):
        run.step(speed_at(step, 400), [0])
        assert (run.balance.factors.item() == 1) == (step - 20 < 0.102 * 380)


def test_styles_with_larger_losses_are_drawn_more_often():
    names = ["a", "b", "c", "d"]
    run = SimulatedRun(StyleBalance(names, 0.42), [0.42] * 4, losses=[0.1, 0.1, 0.15, 0.01])
    assert run.balance.chances.tolist() == [0.25] * 4
    run.run(200)
    lags = (np.array([0.1, 0.1, 0.15, 0.01]) / 0.09) ** 2
    expected = np.clip(lags, 0.5, 3)
    assert run.balance.chances == pytest.approx(expected / expected.sum(), rel=0.01)


def test_losses_are_summed_up_by_style():
    balance, styles, losses = StyleBalance(["a", "b", "c"], 0.42), torch.tensor([1, 0, 1, 1, 0]), torch.arange(5) / 8
    contents = torch.tensor([[1, 2], [3, 4], [5, 6], [7, 8], [9, 10.0]])
    found = balance.sum_up(styles, contents=contents, style_losses=losses)
    assert found.tolist() == [[12, 14, 0.625, 2], [13, 16, 0.625, 3], [0, 0, 0, 0]]
    assert not balance.sum_up(styles[:0], contents=contents[:0], style_losses=losses[:0]).any()


def test_pictures_that_are_not_finite_change_nothing():
    balance, nan = StyleBalance(["a"], 0.42), torch.tensor([float("nan")])
    bad = balance.sum_up(torch.tensor([0]), contents=torch.ones(1, 2) * nan, style_losses=torch.ones(1))
    assert bad.tolist() == [[0, 0, 0, 0]]
    balance.update(bad, speed=1.0)
    balance.update(bad, speed=0.5)
    assert balance.factors.item() == 1


def test_running_content_is_that_of_the_loss(tmp_path, run_of, photos):
    module, logged = run_of(partial_strength=0.0), []
    module.log = lambda name, value, **_: logged.append(value.item()) if name == "train/content" else None
    trainer_of(tmp_path, max_steps=1, enable_checkpointing=False).fit(module, data_of(photos))
    sums = module.balance.sums.sum(0)
    assert (sums[0] / sums[1]).item() == pytest.approx(logged[0], rel=1e-5)


@pytest.fixture
def run_of(tmp_path, compact_weights, picture):
    """Makes a run of two styles that balances."""

    def make(**options):
        files = {}
        for seed, name in enumerate(("a", "b")):
            files[name] = str(tmp_path / f"{name}.png")
            picture(90, 80, seed=50 + seed).save(files[name])
        torch.manual_seed(0)
        network = MultiStyleNet(widths=[4, 6, 8], block_width=4, dilations=[1])
        return module_of(compact_weights, None, network, styles=files, **options)

    return make


def test_a_resumed_run_balances_exactly(tmp_path, run_of, photos):
    whole, resumed = run_of(), run_of()
    save = LastCheckpoint(every_n_steps=20, keep_all=True)
    trainer_of(tmp_path, max_steps=50, callbacks=[save]).fit(whole, data_of(photos))
    checkpoint = tmp_path / "checkpoints/step-000040.ckpt"
    trainer_of(tmp_path, max_steps=50, enable_checkpointing=False).fit(resumed, data_of(photos), ckpt_path=checkpoint)
    expected, found = whole.balance.state(), resumed.balance.state()
    for key in ("log_factors", "integral", "sums"):
        assert found.pop(key).equal(expected.pop(key))
    assert found == expected
    assert found["begun"]
    assert (whole.balance.factors != 1).all()
    assert found["chances"] != [0.5, 0.5]
    _, metadata = load_network(tmp_path / "checkpoints/last.ckpt")
    weights = (5 * whole.balance.factors).tolist()
    assert json.loads(metadata["style_weights"]) == pytest.approx(dict(zip("ab", weights)), abs=1e-5)
    fresh = run_of(init_from=str(tmp_path / "checkpoints/last.ckpt"))
    assert fresh.balance.factors.tolist() == [1, 1]


def test_averages_of_weights_leave_the_balance_alone(tmp_path, run_of, photos):
    plain, averaged = run_of(), run_of()
    for module, callbacks in ((plain, []), (averaged, [EMAWeightAveraging(decay=0.9)])):
        trainer = trainer_of(tmp_path, max_steps=30, callbacks=callbacks, enable_checkpointing=False)
        trainer.fit(module, data_of(photos))
    assert (plain.balance.factors != 1).all()
    assert averaged.balance.factors.equal(plain.balance.factors)
    assert averaged.balance.sums.equal(plain.balance.sums)


def test_a_state_counts_for_the_styles_that_it_has():
    run = SimulatedRun(StyleBalance(["a", "b"], 0.42), [0.2, 0.7], losses=[0.1, 0.2])
    run.run(100)
    other = StyleBalance(["b", "c"], 0.42)
    other.restore(run.balance.state())
    assert other.factors.tolist() == [run.balance.factors[1].item(), 1]
    assert other.content[0] == run.balance.content[1]
    assert other.chances.sum() == pytest.approx(1)


def test_only_pictures_at_full_strength_count(tmp_path, run_of, photos):
    module = run_of(partial_strength=1.0)
    trainer_of(tmp_path, max_steps=3, enable_checkpointing=False).fit(module, data_of(photos))
    assert module.balance.sums.abs().sum() == 0
    assert module.balance.batches == 3


def test_factors_weigh_the_loss(run_of):
    module = run_of()
    module.balance.log_factors = torch.tensor([0.0, 1.0])
    photos, pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).split(1)
    for style, factor in ((0, 1.0), (1, np.exp(1))):
        targets = module.sampler.fixed(style, 1)
        found = module.losses(pictures, photos, targets)
        torch.testing.assert_close(found["style"], factor * found["style_of_each"].mean(), check_dtype=False)


@pytest.mark.parametrize("objective", [{"style_weight": 0.0}, {"content_weight": 0.0}, {}])
def test_without_two_weights_or_a_target_nothing_is_balanced(compact_weights, painting, objective):
    module = module_of(compact_weights, painting, objective=objective, content_target=0.42 if objective else None)
    assert module.balance is None


def test_a_network_of_one_style_is_balanced_and_logged(tmp_path, compact_weights, painting, photos):
    options = {"short_side": 128}
    module = module_of(compact_weights, painting, JohnsonNet(4, 1, 3), objective={"style_weight": 2.0}, **options)
    trainer = trainer_of(tmp_path, max_steps=20, limit_val_batches=1, callbacks=[LastCheckpoint()])
    trainer.fit(module, data_of(photos, **options))
    weight = 2 * module.balance.factors.item()
    assert weight != 2
    assert trainer.callback_metrics["val/style_weight"].item() == pytest.approx(weight)
    assert trainer.callback_metrics["val/running_content"].item() == pytest.approx(module.balance.content.item())
    _, metadata = load_network(tmp_path / "checkpoints/last.ckpt")
    assert float(metadata["style_weight"]) == pytest.approx(weight, abs=1e-5)


def test_the_validation_loss_compares_states_whatever_their_weights(tmp_path, compact_weights, painting, photos):
    trainer = trainer_of(tmp_path, limit_val_batches=1, enable_checkpointing=False)
    found = {}
    for target, factor in ((0.42, 1.0), (0.42, 3.0), (0.1, 1.0)):
        module = module_of(compact_weights, painting, content_target=target)
        module.balance.log_factors = torch.tensor([np.log(factor)])
        trainer.validate(module, data_of(photos), verbose=False)
        found[target, factor] = {name: value.item() for name, value in trainer.callback_metrics.items()}
    plain, weighed, strict = found.values()
    names = ["val/loss", "val/content", "val/style", "val/content_median", "val/style_median"]
    assert [weighed[name] for name in names] == [plain[name] for name in names]
    for figures, target in ((plain, 0.42), (strict, 0.1)):
        excess = max(1, figures["val/content"] / target)
        assert figures["val/loss"] == pytest.approx(figures["val/style_median"] * excess**2, rel=1e-5)
    assert strict["val/loss"] > plain["val/loss"]


def test_the_rate_is_smallest_at_the_target():
    balance = StyleBalance(["a"], 0.4)
    content = torch.linspace(0.1, 0.9, 81)
    rates = balance.rate(content, 0.02 + 0.03 / content)  # what style weights from small to large lead to
    assert content[rates.argmin()] == pytest.approx(0.4)
