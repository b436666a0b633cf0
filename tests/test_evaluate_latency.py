import pytest

from nst_lightning.cli import main


def test_times_of_each_size(many_model, capsys):
    sizes = ["--image-size", "64x48", "--image-size", "32x40"]
    assert main(["evaluate", "latency", many_model, *sizes, "--runs", "3", "--threads", "1"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["size", "p50", "ms", "p95", "ms", "first", "ms", "1", "thread"]
    assert [line.split()[0] for line in lines] == ["64x48", "32x40"]
    for line in lines:
        half, most, first = map(float, line.split()[1:])
        assert 0 < half <= most
        assert first > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--image-size", "512"], "image_size must be WIDTHxHEIGHT, both >= 32, such as 1920x1080, got '512'"),
        (["--image-size", "64x20"], "image_size must be WIDTHxHEIGHT, both >= 32"),
        (["--image-size", "99999x99999"], "image_size: 99999x99999 are 9999.8 megapixels, and at most 500 are allowed"),
        (["--provider", "npu"], "provider: there is no 'npu'"),
        (["--runs", "0"], '"runs"'),
    ],
)
def test_wrong_requests_are_one_line(many_model, capsys, options, message):
    assert main(["evaluate", "latency", many_model, *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
