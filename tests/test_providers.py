"""What networks run on. .ci/runtimes runs OpenVINO; here is ONNX Runtime's CPU build, which has Azure's, too."""

import pickle

import onnxruntime
import pytest
from notices import said
from test_strips import painted_strips  # noqa: F401

from nst_lightning.cli import main
from nst_lightning.errors import UserError
from nst_lightning.inference import ModelError, Stylizer
from nst_lightning.inference.providers import NAMES, find_providers

AZURE, CPU, CUDA = "AzureExecutionProvider", "CPUExecutionProvider", "CUDAExecutionProvider"
needs_azure = pytest.mark.skipif(AZURE not in onnxruntime.get_available_providers(), reason="this build has only a CPU")


@pytest.fixture
def everything(monkeypatch):
    """As if ONNX Runtime had all providers, whose libraries it then can't load."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*NAMES.values(), AZURE])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("cuda", [CUDA]),
        ("CUDA", [CUDA]),
        (CUDA, [CUDA]),
        (AZURE, [AZURE]),
        (["tensorrt", CUDA, "cpu"], ["TensorrtExecutionProvider", CUDA, CPU]),
        (("cuda", {"device_id": 1}), [(CUDA, {"device_id": 1})]),
        (("cuda", "cpu"), [CUDA, CPU]),
        ([("cuda", {"device_id": 1}), "cpu"], [(CUDA, {"device_id": 1}), CPU]),
        ("openvino", [("OpenVINOExecutionProvider", {"num_of_threads": 3})]),
        (("openvino", {"num_of_threads": 1}), [("OpenVINOExecutionProvider", {"num_of_threads": 1})]),
    ],
)
def test_names_and_options(everything, given, expected):
    assert find_providers(given, threads=3) == expected


def test_the_names_are_those_that_onnx_runtime_has():
    assert {*NAMES.values()} <= {*onnxruntime.get_all_providers()}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("cuad", "providers: there is no 'cuad'; there are cpu, cuda, tensorrt, "),
        (["cpu", "gpu"], "providers: there is no 'gpu'; there are cpu, cuda,"),
        ("cuda", "has no cuda, only cpu; onnxruntime-gpu, in place of onnxruntime, brings it (make wheel RUNTIME=gpu)"),
        ("TensorrtExecutionProvider", "has no tensorrt, only cpu; onnxruntime-gpu, in place of"),
        ("directml", "has no directml, only cpu; onnxruntime-directml, in place of"),
        ("coreml", "has no coreml, only cpu; onnxruntime brings it on macOS"),
        ("DnnlExecutionProvider", "has no DnnlExecutionProvider, only cpu; it takes another build of ONNX Runtime"),
        ([], "providers must be one provider or more, got []"),
        ([("cpu", 3)], "providers must be names, or pairs of a name and options, got [('cpu', 3)]"),
    ],
)
def test_providers_that_are_not_here(model, monkeypatch, given, message):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(UserError) as refused:
        Stylizer(model, providers=given)
    assert message in str(refused.value)
    assert refused.value.argument == "providers"


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_what_would_silently_run_on_the_cpu_is_refused(model, everything):
    with pytest.raises(UserError, match=r"^providers: cuda can't be used here, .*; it would run on cpu$"):
        Stylizer(model, providers="cuda")
    assert Stylizer(model).providers == ["cpu"]  # unless it was only tried


def test_a_provider_that_fails_is_not_a_damaged_file(model, tmp_path, monkeypatch):
    class Failing(onnxruntime.InferenceSession):
        def __init__(self, file, options, *, providers, **others):
            if providers != [CPU]:
                raise ValueError("no such device\nmore")
            super().__init__(file, options, providers=providers, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Failing)
    with pytest.raises(UserError, match=r"^providers: .*device_id.* can't run this network \(no such device\)$"):
        Stylizer(model, providers=("cpu", {"device_id": 7}))
    (tmp_path / "bad.onnx").write_bytes(b"garbage")
    with pytest.raises(ModelError, match=r"bad\.onnx is damaged"):
        Stylizer(tmp_path / "bad.onnx", providers=("cpu", {"device_id": 7}))


@needs_azure
def test_what_was_chosen(model, picture):
    stylizer, photo = Stylizer(model, providers=[AZURE]), picture(60, 40)
    assert stylizer.providers == [AZURE, "cpu"]
    assert pickle.loads(pickle.dumps(stylizer)).providers == [AZURE, "cpu"]
    assert Stylizer(model).providers == Stylizer(model, providers="cpu").providers == ["cpu"]
    assert stylizer(photo) == Stylizer(model)(photo)


def test_strips_run_on_the_same(many_model, picture, painted_strips, monkeypatch):  # noqa: F811
    opened = []

    class Noted(onnxruntime.InferenceSession):
        def __init__(self, file, options, **others):
            opened.append((type(file), others["providers"]))
            super().__init__(file, options, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Noted)
    given = (CPU, {"arena_extend_strategy": "kSameAsRequested"})
    Stylizer(many_model, providers=given, max_memory=8e9)(picture(90, 70))
    assert painted_strips
    assert bytes in {kind for kind, _ in opened}
    assert all(providers == [given] for _, providers in opened)


@needs_azure
@pytest.mark.parametrize(
    "command", [["stylize", "photo.png"], ["styles", "photo.png"], ["evaluate", "folders", "photo.png", "--count", "1"]]
)
def test_commands_say_what_was_chosen(many_model, picture, tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    picture(60, 40).save("photo.png")
    small = ["--long-side", "60", "--rounds", "1"] if "folders" in command else []
    for provider, said_of_it in ((AZURE, f"nst-lightning: the network runs on {AZURE}, cpu\n"), ("cpu", "")):
        assert main([*command, *small, "--model", many_model, "--provider", provider]) == 0
        assert capsys.readouterr().err.count("nst-lightning:") == bool(said_of_it)
    assert main([*command, *small, "--model", many_model, "--provider", "npu"]) == 2
    name = " ".join(command[: 1 + ("folders" in command)])
    assert capsys.readouterr().err.startswith(f"nst-lightning: {name}: provider: there is no 'npu'; ")


@needs_azure
def test_workers_run_on_the_same(model, picture, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    for seed in range(3):
        picture(60, 40, seed=seed).save(tmp_path / f"photos/{seed}.png")
    arguments = ["stylize", str(tmp_path / "photos"), "--model", model, "--workers", "2", "--provider", AZURE]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err.count(f"nst-lightning: the network runs on {AZURE}, cpu\n") == 1
    assert len([*(tmp_path / "out").iterdir()]) == 3


def test_warming_up_leaves_pictures_as_they_are(model, picture):
    stylizer = Stylizer(model)
    _, notices = said(stylizer.warm_up, (60, 40))
    assert not notices
    assert stylizer(picture(60, 40)) == Stylizer(model)(picture(60, 40))
    with pytest.raises(UserError, match=r"size must be a width and a height >= 32, got \(-20, 40\)"):
        stylizer.warm_up((-20, 40))
