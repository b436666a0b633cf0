"""Repositories for the Hugging Face Hub: what is written, and what a Hub on this machine receives."""

import base64
import dataclasses
import http.server
import json
import re
import threading
from pathlib import Path

import onnx
import pytest
import torch
import yaml
from conftest import with_metadata
from huggingface_hub import constants

from nst_lightning import cli
from nst_lightning.errors import UserError, WorkError
from nst_lightning.hub import from_pretrained, model_files, push_to_hub, space_files, write_publication
from nst_lightning.inference import InputShape
from nst_lightning.networks import JohnsonNet, MultiStyleNet, load_network, network_record
from nst_lightning.serving import read_models, site

TOKEN = "hf_secret"


class Hub(http.server.ThreadingHTTPServer):
    """The part of the Hub's interface that uploads and downloads use, with repositories in memory."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.created, self.files, self.tokens = {}, {}, set()


class HubHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.tokens.add(self.headers["Authorization"])
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.answer({"error": "Invalid username or password."}, 401)
        elif self.path == "/api/repos/create":
            asked = json.loads(content)
            kind = asked.get("type", "model")
            name = f"{asked['organization']}/{asked['name']}"
            private = asked.get("private") or asked.get("visibility") == "private"  # the latter since version 2
            self.server.created[kind, name] = (asked.get("sdk"), bool(private))
            self.answer({"url": f"{self.server.url}/{'spaces/' * (kind == 'space')}{name}"})
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            paths = [file["path"] for file in json.loads(content)["files"]]
            self.answer({"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in paths]})
        else:
            kind, name = re.fullmatch(r"/api/(model|space)s/(\w+/\w+)/commit/main", self.path).groups()
            for line in map(json.loads, content.splitlines()):
                if line["key"] == "file":
                    stored = self.server.files.setdefault((kind, name), {})
                    stored[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"https://huggingface.co/{'spaces/' * (kind == 'space')}{name}/commit/{'a' * 40}"
            self.answer({"commitUrl": url, "commitOid": "a" * 40})

    def do_GET(self):
        asked = re.fullmatch(r"/(\w+/\w+)/resolve/[\w.]+/(.*)", self.path)
        name, path = asked.groups() if asked else (None, None)
        files = self.server.files.get(("model", name))
        if not asked:
            self.answer({"error": "Not found"}, 404)
        elif files is None:
            self.answer({"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})
        elif path not in files:
            self.answer({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        else:
            self.answer(files[path], headers={"ETag": '"0123"', "X-Repo-Commit": "a" * 40})

    do_HEAD = do_GET  # noqa: N815

    def answer(self, content, status=200, headers=None):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub on this machine, in place of the real one."""
    with Hub() as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server
        server.shutdown()


@pytest.fixture
def page(tmp_path, monkeypatch):
    folder = tmp_path / "page"
    (folder / "runtime").mkdir(parents=True)
    for name in ("index.html", "page.js", "runtime/ort.wasm"):
        (folder / name).write_bytes(f"this is {name}".encode())
    monkeypatch.setattr(site, "PAGE_FOLDERS", (folder,))
    return folder


@pytest.fixture
def own(model, many_model, tmp_path):
    """Two networks of one's own."""
    one = with_metadata(model, tmp_path / "waves.onnx", {"style": "Waves | <b>", "painter": "A\nB", "license": "MIT"})
    many = {"styles": '["dunes", "reeds", "wood"]', "credits": '{"reeds": "A painter, Reeds"}', "license": "CC-BY-4.0"}
    return [with_metadata(many_model, tmp_path / "many.onnx", many), one]


def card_of(files):
    """The YAML and the text of a repository's card."""
    content = files["README.md"]
    text = content.decode() if isinstance(content, bytes) else content.read_text("utf-8")
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def content_of(files):
    return {path: each if isinstance(each, bytes) else each.read_bytes() for path, each in files.items()}


def test_the_space_has_the_page_and_what_the_hub_reads(page, own):
    files = space_files(read_models(own), title="Our: styles", repository="me/styles")
    head, body = card_of(files)
    assert {"title": "Our: styles", "sdk": "static", "app_file": "index.html", "models": ["me/styles"]}.items() <= (
        head.items()
    )
    assert head["custom_headers"] == {
        "cross-origin-embedder-policy": "require-corp",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "cross-origin",
    }
    assert (head["license"], head["license_name"]) == ("other", "mit-and-cc-by-4.0")
    assert len(head["short_description"]) <= 60
    assert "| reeds | A painter, Reeds |" in body
    assert r"| Waves \| \<b> | A B |" in body
    assert [entry["file"] for entry in json.loads(files["models.json"])] == ["models/many.onnx", "models/waves.onnx"]
    assert (
        content_of(files).items()
        >= {
            "index.html": b"this is index.html",
            "runtime/ort.wasm": b"this is runtime/ort.wasm",
            "models/many.onnx": Path(own[0]).read_bytes(),
        }.items()
    )


def test_a_repository_of_own_networks_has_a_card_from_their_metadata(own, picture, tmp_path, monkeypatch):
    files = model_files(read_models(own), title="Our styles")
    head, body = card_of(files)
    assert (head["pipeline_tag"], head["license_name"]) == ("image-to-image", "cc-by-4.0-and-mit")
    assert head["library_name"] == "onnxruntime"
    assert "# Our styles" in body
    assert "| `many.onnx` | 3 | CC-BY-4.0 |" in body
    config = json.loads(files["config.json"])
    assert config["networks"]["many"]["styles"] == ["dunes", "reeds", "wood"]
    assert config["networks"]["waves"]["inputs"] == ["photo"]
    (example,) = re.findall(r"```python\n(.*?)```", body, re.DOTALL)
    for path, content in content_of(files).items():
        (tmp_path / path).write_bytes(content)
    picture(64, 48).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "card", "exec"), {})
    assert (tmp_path / "picture.png").is_file()


def test_configurations_name_what_the_files_take(own):
    config = json.loads(model_files(read_models(own), title="")["config.json"])
    for network, path in zip(config["networks"].values(), own):
        graph = onnx.load(path).graph
        assert network["inputs"] == [node.name for node in graph.input]
        assert [network["output"]] == [node.name for node in graph.output]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (InputShape(), {"do_resize": False}),
        (InputShape(height=64, multiple=8), {"do_resize": False}),
        (InputShape(height=64, width=96), {"do_resize": True, "size": {"height": 64, "width": 96}, "resample": 3}),
        (InputShape(in_bytes=True), None),
    ],
)
def test_image_processors_prepare_photos_as_the_first_network_wants_them(own, shape, expected):
    first, second = read_models(own)
    files = model_files([dataclasses.replace(first, input_shape=shape), second], title="")
    assert ("preprocessor_config.json" in files) == (expected is not None)
    if expected is not None:
        found = json.loads(files["preprocessor_config.json"])
        assert found.pop("rescale_factor") * 255 == pytest.approx(1)
        always = {"image_processor_type": "ViTImageProcessor", "do_rescale": True, "do_normalize": False}
        assert found == {**always, "do_convert_rgb": True, **expected}


def test_bundled_networks_have_their_own_cards(page):
    files = model_files(read_models(), title="")
    head, body = card_of(files)
    assert head["license"] == "mit"
    assert "Twelve styles" in body
    linked = re.findall(r"\]\(([^):#]+)\)", body)
    assert linked
    assert {*linked} <= files.keys()
    assert {"styles.onnx", "styles_fp16.onnx", "johnson_great_wave.onnx", ".gitattributes"} <= files.keys()
    attributes = files[".gitattributes"].decode()
    assert all(
        f"*{path.suffix} filter=lfs" in attributes for path in map(Path, files) if path.suffix in (".onnx", ".jpg")
    )
    assert card_of(space_files(read_models(), title=""))[0]["license"] == "mit"


def test_publications_are_replaced_but_nothing_else(tmp_path):
    folder, first, second = tmp_path / "out/folder", tmp_path / "first", b"second"
    first.write_bytes(b"first")
    write_publication(folder, {"model": {"a/b.onnx": first, "old.js": b""}, "space": {"c.txt": second}})
    assert (folder / "model/a/b.onnx").read_bytes() == b"first"
    write_publication(folder, {"model": {"a/b.onnx": second}})
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {"model/a/b.onnx", "publication.json"}
    for name in ("model/.git/config", "notes.txt"):
        other = folder / name
        other.parent.mkdir(exist_ok=True)
        other.write_text("mine")
        with pytest.raises(UserError, match=f"folder: .* was changed since it was published: {name}"):
            write_publication(folder, {"model": {}})
        other.unlink()
    (folder / "model/a/b.onnx").write_bytes(b"edited")
    with pytest.raises(UserError, match=r"changed since it was published: model/a/b\.onnx"):
        write_publication(folder, {"model": {}})
    assert (folder / "model/a/b.onnx").read_bytes() == b"edited"


def test_folders_that_are_not_publications_are_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"folder: .* is not empty, it has file; choose a new folder"):
        write_publication(tmp_path, {"model": {}})
    with pytest.raises(UserError, match=r"folder: .* must be a folder"):
        write_publication(tmp_path / "file", {"model": {}})
    (tmp_path / "file").unlink()
    for content in ("[not JSON", "[]", "{}"):
        (tmp_path / "publication.json").write_text(content)
        with pytest.raises(UserError, match=r"folder: .* is not empty, it has publication\.json"):
            write_publication(tmp_path, {"model": {}})


def test_a_failure_leaves_the_former_publication(tmp_path):
    write_publication(tmp_path, {"model": {"a": b"first"}})
    with pytest.raises(OSError, match="nowhere"):
        write_publication(tmp_path, {"model": {"a": b"second", "b": tmp_path / "nowhere"}})
    assert (tmp_path / "model/a").read_bytes() == b"first"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "publication.json"]


def test_the_command_writes_both_and_uploads_both(hub, page, own, tmp_path, capsys):
    folder = tmp_path / "folder"
    arguments = ["publish", str(folder), "--model", own[0], "--title", "Ours", "--push", "me/styles", "--private"]
    assert cli.main(arguments) == 0
    out, err = capsys.readouterr()
    assert out.split() == [
        *map(str, (folder / "model", folder / "space")),
        f"{hub.url}/me/styles",
        f"{hub.url}/spaces/me/styles",
    ]
    assert TOKEN not in out + err
    assert hub.created == {("model", "me/styles"): (None, True), ("space", "me/styles"): ("static", True)}
    for kind in ("model", "space"):
        written = {
            p.relative_to(folder / kind).as_posix(): p.read_bytes() for p in (folder / kind).rglob("*") if p.is_file()
        }
        assert hub.files[kind, "me/styles"] == written
    assert card_of(hub.files["space", "me/styles"])[0]["models"] == ["me/styles"]


@pytest.mark.parametrize("token", [None, "hf_wrong"])
def test_without_a_login_the_command_says_how(hub, page, own, tmp_path, capsys, monkeypatch, token):
    monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
    assert cli.main(["publish", str(tmp_path / "folder"), "--model", own[0], "--push", "me/styles"]) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith("nst-lightning: publish: push: the Hub says 401 of me/styles: log in with `hf auth login`")
    assert "hf_wrong" not in err


@pytest.mark.parametrize("name", ["styles", "a/b/c", "me/", "me/a b", "https://huggingface.co/me/styles"])
def test_names_that_are_none_are_refused_before_anything_is_written(page, tmp_path, capsys, name):
    assert cli.main(["publish", str(tmp_path / "folder"), "--push", name]) == 2
    assert f"push must be OWNER/NAME, of letters, digits, `-`, `_` and `.`, got '{name}'" in capsys.readouterr().err
    assert not (tmp_path / "folder").exists()


@pytest.fixture
def checkpoint(tmp_path):
    """Writes a checkpoint of a network."""

    def write(network, metadata):
        state = {f"network.{key}": value for key, value in network.state_dict().items()}
        path = tmp_path / "last.ckpt"
        torch.save({"state_dict": state, "transfer_network": network_record(network, metadata)}, path)
        return path

    return write


@pytest.mark.parametrize(
    ("network", "metadata"),
    [
        (JohnsonNet(4, 1, 3), {"style": "Waves", "license": "MIT"}),
        (
            MultiStyleNet(["dunes", "reeds"], [4, 6, 8], 5, [1]),
            {"credits": '{"reeds": "A painter"}', "style": "dunes, reeds"},
        ),
    ],
    ids=["one", "many"],
)
def test_checkpoints_come_back_from_the_hub(hub, checkpoint, network, metadata, tmp_path):
    address = push_to_hub(checkpoint(network, metadata), "me/mine", title="Mine")
    assert address == f"{hub.url}/me/mine"
    stored = hub.files["model", "me/mine"]
    assert {*stored} == {"README.md", "config.json", "model.safetensors", ".gitattributes"}
    config = json.loads(stored["config.json"])
    assert (config["class"], config["metadata"]) == (type(network).__name__, metadata)
    head, body = card_of(stored)
    assert head.get("license") == ("mit" if "license" in metadata else None)
    assert 'from_pretrained("me/mine")' in body
    assert "A painter" in body or "credits" not in metadata
    loaded, found = from_pretrained("me/mine")
    assert found == metadata
    assert not loaded.training
    photo = torch.rand(1, 3, 40, 48)
    torch.testing.assert_close(loaded(photo), network.eval()(photo), rtol=0, atol=0)
    path = tmp_path / "mine.safetensors"
    path.write_bytes(stored["model.safetensors"])
    assert load_network(path)[0].state_dict().keys() == network.state_dict().keys()


def test_onnx_files_are_pushed_as_they_are(hub, own):
    push_to_hub(own[1], "me/waves")
    assert hub.files["model", "me/waves"]["waves.onnx"] == Path(own[1]).read_bytes()
    assert hub.created == {("model", "me/waves"): (None, False)}
    with pytest.raises(UserError, match="repo_id: me/waves has no network of this package"):
        from_pretrained("me/waves")


def test_what_can_not_be_downloaded(hub, monkeypatch):
    with pytest.raises(UserError, match="repo_id: the Hub says 401 of me/nowhere"):
        from_pretrained("me/nowhere")
    hub.files["model", "me/broken"] = {"model.safetensors": b"nonsense"}
    with pytest.raises(UserError, match=r"model\.safetensors: damaged, or not a network of this package"):
        from_pretrained("me/broken")
    with pytest.raises(UserError, match=r"nowhere\.ckpt: no such checkpoint"):
        push_to_hub("nowhere.ckpt", "me/mine")
    with pytest.raises(WorkError, match="me/mine: the Hub can't be reached"):
        push_to_hub("johnson_base", "me/mine", endpoint="http://127.0.0.1:9")
