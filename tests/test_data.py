import shlex
import shutil
import signal
import subprocess
import sys
import warnings

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from training_runs import module_of

from nst_lightning.errors import Notice
from nst_lightning.training import PhotoDataModule
from nst_lightning.training.datasets import Place
from nst_lightning.training.sampler import PlaceSampler


def batches(module, count):
    """Training batches as the Trainer's hooks would see them."""
    loader = iter(module.train_dataloader())
    return [module.on_after_batch_transfer(module.on_before_batch_transfer(next(loader), 0), 0) for _ in range(count)]


def test_batches_are_rgb_in_0_1(photos):
    module = PhotoDataModule(str(photos), short_side=64, batch_size=3, workers=0)
    (batch,) = batches(module, 1)
    assert batch.shape == (3, 3, 64, 64)
    assert batch.dtype == torch.float32
    assert 0 <= batch.min() < batch.max() <= 1


@pytest.mark.parametrize("workers", [0, 2])
def test_same_seed_same_batches(photos, workers):
    first = batches(PhotoDataModule(str(photos), short_side=48, batch_size=2, workers=0), 3)
    again = batches(PhotoDataModule(str(photos), short_side=48, batch_size=2, workers=workers), 3)
    other = batches(PhotoDataModule(str(photos), short_side=48, batch_size=2, workers=0, seed=1), 3)
    torch.testing.assert_close(torch.stack(first), torch.stack(again), rtol=0, atol=0)
    assert not torch.equal(torch.stack(first), torch.stack(other))


def test_a_resumed_run_sees_the_batches_that_follow(photos):
    whole = batches(PhotoDataModule(str(photos), short_side=48, batch_size=1, workers=0), 6)
    module = PhotoDataModule(str(photos), short_side=48, batch_size=1, workers=0)
    module.load_state_dict({"batches": 4})
    torch.testing.assert_close(torch.stack(batches(module, 2)), torch.stack(whole[4:6]), rtol=0, atol=0)


def test_positions_cover_every_photo_once_a_pass():
    dataset = list(range(10))
    drawn = list(PlaceSampler(dataset, seed=3, batches=30, used=30))
    assert [place.position for place in drawn] == list(range(30))
    passes = [[place.photo for place in drawn[start : start + 10]] for start in (0, 10, 20)]
    assert all(sorted(indices) == dataset for indices in passes)
    assert passes[0] != passes[1]


def test_processes_share_the_positions_of_one():
    dataset = list(range(7))
    alone = list(PlaceSampler(dataset, seed=0, batches=20, used=20))
    shared = [list(PlaceSampler(dataset, seed=0, replicas=2, rank=rank, batches=10, used=10)) for rank in (0, 1)]
    together = sorted(shared[0] + shared[1], key=lambda place: place.position)
    assert [place[:2] for place in together] == [place[:2] for place in alone]


@pytest.mark.parametrize(("batches", "used"), [(6, 6), (9, 9), (9, 6)])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_positions_go_on_in_the_epoch_where_they_stopped(batches, used, batch_size):
    dataset = list(range(6))
    options = {"seed": 0, "batch_size": batch_size, "batches": batches, "used": used}
    sampler = PlaceSampler(dataset, **options)
    whole = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        whole += list(sampler)[: used * batch_size]
    resumed = PlaceSampler(dataset, **options, start=used + 3)
    rest = (used - 3) * batch_size
    assert list(resumed)[:rest] == whole[(used + 3) * batch_size : 2 * used * batch_size]
    resumed.set_epoch(2)
    assert list(resumed)[: used * batch_size] == whole[2 * used * batch_size :]


def test_every_other_batch_of_an_epoch_is_to_be_shrunk():
    sampler = PlaceSampler(range(5), seed=0, batch_size=2, batches=4, used=3)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        assert [place.shrink for place in sampler] == [False, False, True, True] * 2


def test_scale_crop_and_flip_vary(tmp_path):
    gradient = np.tile(np.arange(64, dtype=np.uint8)[None, :, None] * 4, (64, 1, 3))
    for name in ("a", "b"):
        Image.fromarray(gradient).save(tmp_path / f"{name}.png")
    module = PhotoDataModule(str(tmp_path), val=str(tmp_path), short_side=64, max_scale=2, batch_size=32, workers=0)
    module.trainer = None
    dataset = module.train_dataloader().dataset
    crops = [dataset[Place(0, position, False)].pictures[0].astype(np.float32) for position in range(40)]
    slopes = np.array([(crop[:, -1] - crop[:, 0]).mean() for crop in crops])
    flipped = slopes < 0
    assert 8 < flipped.sum() < 32
    assert abs(slopes).min() < 160 < 210 < abs(slopes).max()  # enlarged crops see less of the gradient


def test_unreadable_photos_are_left_out_counted_and_named(tmp_path, photos):
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    (folder / "broken.jpg").write_bytes((folder / "photo0.jpg").read_bytes()[:500])
    (folder / "text.png").write_text("not a picture")
    Image.new("RGB", (20, 100)).save(folder / "tiny.png")
    module = PhotoDataModule(str(folder), val=str(photos), short_side=48, batch_size=11, workers=0)
    with pytest.warns(Notice, match="^3 photos left out so far: ") as record:
        (batch,) = batches(module, 1)
    assert batch.shape[0] == 11
    message = str(record[0].message)
    assert all(name in message for name in ("broken.jpg", "text.png", "tiny.png: 20x100 is smaller than 32x32"))
    with warnings.catch_warnings():  # each is named once
        warnings.simplefilter("error")
        batches(module, 1)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_folder_of_nothing_readable_fails(tmp_path, workers):
    for i in range(3):
        (tmp_path / f"{i}.png").write_text("no")
    module = PhotoDataModule(str(tmp_path), val=str(tmp_path), short_side=48, batch_size=1, workers=workers)
    with pytest.raises(ValueError, match=r"^none of the photos can be read: .*\d\.png.*\d\.png"):
        batches(module, 1)


def test_odd_names_are_only_names(tmp_path, picture):
    for name in ("a$b.jpg", "~home.png", "UPPER.JPG", "with space.webp"):
        picture(64, 64).save(tmp_path / name)
    module = PhotoDataModule(str(tmp_path), val=str(tmp_path), short_side=48, batch_size=4, workers=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (batch,) = batches(module, 1)
    assert len(batch) == 4


def test_validation_has_a_picture_for_every_file(tmp_path, picture):
    """So that no process waits for another; the unreadable ones are named."""
    picture(64, 64).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no")
    module = PhotoDataModule(str(tmp_path), val=str(tmp_path), short_side=48, workers=0)
    with pytest.warns(Notice, match=rf"^left out: {tmp_path}/bad\.png: not a picture"):
        found = [module.on_after_batch_transfer(batch, 0) for batch in module.val_dataloader()]
    assert [photo.shape for photo in found] == [(1, 3, 48, 48)] * 2


def test_held_out_photos_are_not_trained_on(photos):
    module = PhotoDataModule(str(photos))
    train, held_out = module.photos("train"), module.photos("val")
    assert len(train) + len(held_out) == 8
    assert not set(train) & set(held_out)
    assert module.photos("test") == held_out


def test_validation_photos_are_whole(photos):
    module = PhotoDataModule(str(photos), val=str(photos), short_side=64, workers=0)
    shapes = {tuple(module.on_after_batch_transfer(batch, 0).shape) for batch in module.val_dataloader()}
    assert all(min(shape[2:]) == 64 and shape[3] > 64 for shape in shapes)
    assert len(shapes) > 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"short_side": 31}, "short_side must be >= 32, got 31"),
        ({"max_scale": 0.5}, "max_scale must be >= 1, got 0.5"),
        ({"surroundings": -1}, "surroundings must be >= 0, got -1"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"workers": -1}, "workers must be >= 0, got -1"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
    ],
)
def test_bad_numbers(options, message):
    with pytest.raises(ValueError, match=message):
        PhotoDataModule("photos", **options)


def test_missing_folders(tmp_path):
    with pytest.raises(ValueError, match="train must be a folder of photos, got none"):
        PhotoDataModule().photos("train")
    with pytest.raises(ValueError, match=r"train: .*nowhere: no such folder"):
        PhotoDataModule(str(tmp_path / "nowhere")).photos("train")
    with pytest.raises(ValueError, match=r"train: .*no pictures"):
        PhotoDataModule(str(tmp_path)).photos("train")
    Image.new("RGB", (64, 64)).save(tmp_path / "only.png")
    with pytest.raises(ValueError, match=r"val: .* has a single photo, which can't be held out"):
        PhotoDataModule(str(tmp_path)).photos("train")


@pytest.mark.parametrize("split", ["train", "val", "test", "predict"])
def test_workers_need_no_shared_memory(photos, split):
    module = PhotoDataModule(str(photos), predict=str(photos), short_side=48, batch_size=2, workers=1)
    batch = next(iter(getattr(module, f"{split}_dataloader")()))
    assert isinstance(batch.pictures, np.ndarray)
    assert isinstance(module.on_before_batch_transfer(batch, 0).pictures, torch.Tensor)


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="signals don't say who sent them")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_workers_go_on_when_their_group_is_asked_to_end(photos, name):
    """The run needs them to complete its step; then it ends them."""
    batches = iter(PhotoDataModule(str(photos), short_side=48, batch_size=1, workers=1).train_dataloader())
    next(batches)
    worker = batches._workers[0]
    subprocess.run(["kill", "-s", name.removeprefix("SIG"), str(worker.pid)], check=True)  # from another process
    for _ in range(3):
        next(batches)  # the last one is prepared after the signal
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 0


def test_in_a_container_with_little_shared_memory(photos):
    """Batches of 3 MB arrive where a tenth of that is free."""
    code = f"""
from nst_lightning.training import PhotoDataModule
loader = PhotoDataModule({str(photos)!r}, short_side=512, batch_size=4, workers=2).train_dataloader()
print(*(batch.pictures.shape for batch in loader))
"""
    mount = "mount -t tmpfs -o size=300k tmpfs /dev/shm"
    space = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*space, mount], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount a file system")
    line = f"{mount} && exec {shlex.join([sys.executable, '-c', code])}"
    done = subprocess.run([*space, line], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "(4, 3, 512, 512)\n"), done.stderr


@pytest.mark.parametrize("folders", [{"train": None}, {"val": "nowhere"}])
def test_missing_photos_are_noticed_before_anything_is_done(
    tmp_path, compact_weights, painting, photos, monkeypatch, folders
):
    module = module_of(compact_weights, painting)
    monkeypatch.setattr(type(module), "validation_step", lambda *_: pytest.fail("validated"))
    trainer = L.Trainer(accelerator="cpu", max_steps=1, default_root_dir=tmp_path / "runs", logger=CSVLogger(tmp_path))
    data = PhotoDataModule(**{"train": str(photos), "val": str(photos), "short_side": 64, "workers": 0, **folders})
    with pytest.raises(ValueError, match=r"(train must be a folder of photos, got none|val: nowhere: no such folder)"):
        trainer.fit(module, data)
    assert not list(tmp_path.iterdir())
