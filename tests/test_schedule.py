"""The learning rate by steps and by the clock, in runs whose clock is a fake one: each step takes one second."""

import math
from datetime import timedelta
from types import SimpleNamespace

import lightning as L
import pytest
from training_runs import data_of, module_of, trainer_of

from nst_lightning.training import LastCheckpoint

RATE = 2e-3


class Rates(L.Callback):
    """Notes the learning rate of each step, and lets time pass."""

    def __init__(self, clock):
        self.clock, self.rates = clock, []

    def on_train_batch_start(self, trainer, *_):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.clock["seconds"] += 1


@pytest.fixture
def clock(monkeypatch):
    clock = {"seconds": 100.0}
    fake = SimpleNamespace(monotonic=lambda: clock["seconds"])
    monkeypatch.setattr("lightning.pytorch.callbacks.timer.time", fake)
    return clock


def cosine(share):
    return RATE / 2 * (1 + math.cos(math.pi * share))


@pytest.mark.parametrize(
    ("options", "warmup", "expected"),
    [
        ({"max_time": 8}, 0, [cosine(second / 8) for second in range(8)]),
        ({"max_time": 8, "max_steps": 100}, 0, [cosine(second / 8) for second in range(8)]),
        ({"max_time": 80000, "max_steps": 6}, 0, [cosine(step / 6) for step in range(6)]),
        ({"max_time": 80000, "max_steps": 6}, 2, [RATE / 2, RATE, *(cosine(step / 4) for step in range(4))]),
        ({"max_steps": 6}, 50, [RATE / 3, RATE * 2 / 3, RATE, *(cosine(step / 3) for step in range(3))]),
        ({"max_time": 8}, 50, [min(1, max((i + 1) / 50, i / 4)) * cosine(i / 8) for i in range(8)]),
    ],
    ids=["time", "time before steps", "steps before time", "warm-up", "long warm-up", "long warm-up by time"],
)
def test_the_learning_rate_reaches_zero_where_the_run_ends(
    tmp_path, compact_weights, painting, photos, clock, options, warmup, expected
):
    if "max_time" in options:
        options = {**options, "max_time": timedelta(seconds=options["max_time"])}
    rates = Rates(clock)
    module = module_of(compact_weights, painting, optimizer={"warmup_steps": warmup, "learning_rate": RATE})
    trainer_of(tmp_path, callbacks=[rates], enable_checkpointing=False, **options).fit(module, data_of(photos))
    assert rates.rates == pytest.approx(expected, abs=1e-5 * RATE)


def test_a_resumed_run_has_the_time_that_was_left(tmp_path, compact_weights, painting, photos, clock):
    timed, optimizer = {"max_time": timedelta(seconds=6)}, {"warmup_steps": 0, "learning_rate": RATE}
    save, first, second = LastCheckpoint(every_n_steps=1, keep_all=True), Rates(clock), Rates(clock)
    module = module_of(compact_weights, painting, optimizer=optimizer)
    trainer_of(tmp_path, callbacks=[save, first], **timed).fit(module, data_of(photos))
    clock["seconds"] += 1000  # between two runs, no time passes
    module = module_of(compact_weights, painting, optimizer=optimizer)
    trainer = trainer_of(tmp_path, callbacks=[second], enable_checkpointing=False, **timed)
    trainer.fit(module, data_of(photos), ckpt_path=tmp_path / "checkpoints/step-000004.ckpt")
    assert len(first.rates) == trainer.global_step == 6
    assert second.rates == pytest.approx(first.rates[4:], abs=1e-5 * RATE)


def test_a_run_by_the_clock_is_one_epoch(tmp_path, clock, compact_weights, painting, photos):
    """Workers would pause between epochs."""
    trainer = trainer_of(tmp_path, max_steps=-1, max_time=timedelta(seconds=9), callbacks=[Rates(clock)])
    data = data_of(photos, batch_size=2)
    trainer.fit(module_of(compact_weights, painting), data)
    assert trainer.global_step == 9
    assert 2 * trainer.global_step > len(data.photos("train"))
    assert trainer.fit_loop.epoch_progress.total.ready == 1
