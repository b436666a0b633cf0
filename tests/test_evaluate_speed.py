import pytest

from nst_lightning.cli import main


def test_speed_is_printed_beside_johnsons(tmp_path, capsys, model, monkeypatch):
    monkeypatch.setattr("nst_lightning.commands.evaluate_speed.usable_processors", lambda: 1)
    assert main(["evaluate", "speed", model, "--image-size", "96", "--rounds", "1"]) == 0
    head, johnson, small = capsys.readouterr().out.splitlines()
    assert head.endswith("96x96 pixels, 1 thread")
    (took, times, *_), (took_small, times_small, name) = johnson.split(), small.split()
    assert float(times) == 1
    assert float(times_small) == pytest.approx(float(took) / float(took_small), rel=0.1)
    assert name == model
    assert main(["evaluate", "speed", model, "--threads", "0"]) == 2
    assert '"threads"' in capsys.readouterr().err
    (tmp_path / "text.onnx").write_text("no network")
    assert main(["evaluate", "speed", str(tmp_path / "text.onnx")]) == 2
    error = capsys.readouterr().err
    assert "text.onnx is damaged or not an ONNX file" in error
    assert error.count("\n") == 1
