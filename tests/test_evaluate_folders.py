import pytest

from nst_lightning.cli import main
from nst_lightning.commands import evaluate_folders


def test_each_number_of_processes_paints_the_same_photos(tmp_path, capsys, model, picture, monkeypatch):
    monkeypatch.setattr(evaluate_folders, "usable_processors", lambda: 4)
    picture(80, 60).save(tmp_path / "photo.png")
    sides = ["--long-side", "40", "--long-side", "1024"]
    options = [*sides, "--workers", "3", "--count", "16", "--rounds", "1"]
    assert main(["evaluate", "folders", str(tmp_path / "photo.png"), "--model", model, *options]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["photos/s", "times", "faster", "processes", "threads", "each"]
    assert [line.split("  ")[-1] for line in lines] == [*["16 photos of 40x32"] * 2, *["6 photos of 1024x768"] * 2]
    rates, faster, processes, threads = zip(*(map(float, line.split()[:4]) for line in lines))
    assert processes == (1, 3, 1, 3)
    assert threads == (4, 1, 4, 1)
    assert faster == pytest.approx([1, rates[1] / rates[0], 1, rates[3] / rates[2]], rel=0.05, abs=0.006)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--long-side", "20"], 2, "long_side must be >= 32, got 20"),
        (["--model", "nowhere.onnx"], 2, "model: no such file: nowhere.onnx"),
        (["--workers", "0"], 2, '"workers"'),
    ],
)
def test_wrong_requests_are_one_line(tmp_path, capsys, picture, options, code, message):
    picture(80, 60).save(tmp_path / "photo.png")
    assert main(["evaluate", "folders", str(tmp_path / "photo.png"), *options]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
