"""The server of the page: what it hands out, and what it refuses."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from conftest import with_metadata

from nst_lightning import cli
from nst_lightning.commands import serve as command
from nst_lightning.errors import UserError
from nst_lightning.inference import ModelError
from nst_lightning.serving import PageServer, build_site, read_models, site

POLICY = {"default-src": "'none'", "script-src": "'self' 'wasm-unsafe-eval'", "frame-ancestors": "'none'"}


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A small page, as if `make web` had built it."""
    folder = tmp_path / "page"
    (folder / "runtime").mkdir(parents=True)
    for name in ("index.html", "page.js", "page.css", "runtime/ort.mjs", "runtime/ort.wasm", ".gitignore"):
        (folder / name).write_bytes(f"this is {name}".encode() * 100)
    monkeypatch.setattr(site, "PAGE_FOLDERS", (tmp_path / "nowhere", folder))
    return folder


@pytest.fixture
def started():
    """Starts servers in threads of their own, and ends them after the test."""
    servers = []

    def start(files, **options):
        servers.append(PageServer(files, **options))
        threading.Thread(target=servers[-1].serve_forever, args=[0.02], daemon=True).start()
        return servers[-1]

    yield start
    for each in servers:
        each.shutdown()
        each.server_close()


@pytest.fixture
def running(page, model, started):
    return started(build_site(read_models([model])))


def ask(running, path="/", method="GET", **headers):
    """A response with its body, to a path that is sent as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=5)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    response = connection.getresponse()
    response.body = response.read()
    connection.close()
    return response


def ask_raw(running, request):
    """All that comes back to bytes, until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=5) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(2**16), b""))


@pytest.mark.parametrize(
    ("path", "name", "kind"),
    [
        ("/", "index.html", "text/html; charset=utf-8"),
        ("/?lang=en", "index.html", "text/html; charset=utf-8"),
        ("/index.html", "index.html", "text/html; charset=utf-8"),
        ("/page.js", "page.js", "text/javascript; charset=utf-8"),
        ("/page%2Ejs", "page.js", "text/javascript; charset=utf-8"),
        ("/page.css", "page.css", "text/css; charset=utf-8"),
        ("/runtime/ort.mjs", "runtime/ort.mjs", "text/javascript; charset=utf-8"),
        ("/runtime/ort.wasm", "runtime/ort.wasm", "application/wasm"),
    ],
)
def test_files_of_the_page(page, running, path, name, kind):
    response = ask(running, path)
    assert (response.status, response.body) == (200, (page / name).read_bytes())
    assert response.headers["Content-Type"] == kind
    head = ask(running, path, "HEAD")
    assert (head.status, head.body) == (200, b"")
    differing = {name for name, value in response.getheaders() if head.headers[name] != value}
    assert differing <= {"Date"}
    assert int(head.headers["Content-Length"]) == len(response.body)


def test_networks_and_their_list(running, page, model, many_model, tmp_path, started):
    awkward = tmp_path / "a b#ü?.onnx"
    with_metadata(model, awkward, {"style": "Waves"})
    running = started(build_site(read_models([many_model, awkward])))
    first, second = json.loads(ask(running, "/models.json").body)
    assert first["name"] in many_model
    assert "title" not in first
    assert (second["name"], second["title"]) == (awkward.stem, "Waves")
    assert second["file"] == f"models/{quote(awkward.stem)}.onnx"
    for listed, path in ((first, many_model), (second, awkward)):
        response = ask(running, f"/{listed['file']}")
        assert response.headers["Content-Type"] == "application/octet-stream"
        assert len(response.body) == listed["bytes"]
        assert response.body == Path(path).read_bytes()


def test_bundled_networks_by_default(page):
    listed = json.loads(build_site(read_models())["models.json"])
    assert [entry["name"] for entry in listed] == ["styles", "styles_fp16", "johnson_great_wave", "johnson_wheat_field"]
    assert listed[2]["title"].startswith("The Great Wave")
    assert listed[0]["bytes"] > listed[1]["bytes"] > 10**6


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere.html",
        "/.gitignore",
        "/runtime",
        "/runtime/",
        "/models/",
        "/../index.html",
        "/runtime/../../../../../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/runtime/..%5c..%5cpage.js",
        "//etc/passwd",
        "/runtime//ort.mjs",
        "/%00",
        "/page.js%00.html",
        "/page.js/",
        "/%ff%fe",
        "/%",
        "http://127.0.0.1/page.js",
        "page.js",
        "*",
        "/" + "a" * 60000,
        "/<script>alert(1)</script>",
    ],
)
def test_what_is_not_in_the_table_is_not_found(running, path):
    response = ask(running, path)
    assert (response.status, response.body) == (404, b"404 Not Found\n")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_a_file_that_is_gone_is_not_found(page, running):
    (page / "page.js").unlink()
    assert ask(running, "/page.js").status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT", "XYZ", "get"])
def test_other_methods_are_refused(running, method):
    response = ask(running, method=method)
    assert response.status == 405
    assert response.headers["Allow"] == "GET, HEAD"
    assert response.headers["Connection"] == "close"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"<b>nonsense</b>\r\n\r\n", 400),
        (b"GET / HTTP/<b>\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 421),
        (b"GET /\xff\xfe HTTP/1.0\r\nHost: localhost\r\n\r\n", 404),
    ],
)
def test_wrong_requests_are_refused_and_not_repeated(running, request_, status):
    answer = ask_raw(running, request_)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"<b>" not in answer
    assert b"nosniff" in answer


def test_every_answer_isolates_the_page(running):
    for response in (ask(running), ask(running, "/nowhere"), ask(running, method="PUT")):
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert response.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["Permissions-Policy"].startswith("camera=(self), ")
        policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
        assert {name: policy[name] for name in POLICY} == POLICY
        assert "unsafe-inline" not in response.headers["Content-Security-Policy"]
        assert "Python" not in response.headers["Server"]


@pytest.mark.parametrize("path", ["/page.js", "/models.json"])
def test_what_the_browser_has_is_not_sent_again(page, running, path):
    tag = ask(running, path).headers["ETag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        response = ask(running, path, If_None_Match=known)
        assert (response.status, response.body, response.headers["ETag"]) == (304, b"", tag)
    assert ask(running, path, If_None_Match='"other"').status == 200


def test_a_changed_file_is_sent_again(page, running):
    tag = ask(running, "/page.js").headers["ETag"]
    (page / "page.js").write_bytes(b"changed")
    response = ask(running, "/page.js", If_None_Match=tag)
    assert (response.status, response.body) == (200, b"changed")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:1", 200),  # a tunnel may have another port
        ("127.0.0.1:80", 200),
        ("[::1]:80", 200),
        ("evil.example", 421),
        ("evil.example:8765", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("user@evil.example", 421),
        ("", 421),
    ],
)
def test_other_names_of_this_computer_are_refused(running, host, status):
    assert ask(running, Host=host).status == status


def test_any_name_will_do_where_others_may_come(page, model, started):
    running = started(build_site(read_models([model])), host="0.0.0.0")
    assert running.url == f"http://localhost:{running.port}/"
    assert ask(running, Host="studio.example").status == 200


def test_a_request_without_a_host_is_refused(running):
    assert ask_raw(running, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 421 ")


def test_a_body_is_not_taken_for_the_next_request(running):
    smuggled = b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(smuggled)
    assert ask_raw(running, head + smuggled).count(b"HTTP/1.1 ") == 1


def test_a_connection_serves_several_requests(running):
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=5)
    for path, status in (("/", 200), ("/models.json", 200), ("/page.js", 200)):
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == status
        assert len(response.read()) == int(response.headers["Content-Length"])
    connection.close()


def test_slow_clients_do_not_keep_others_waiting(running, page, monkeypatch, capfd):
    monkeypatch.setattr(PageServer, "client_timeout", 0.3)
    (page / "runtime/ort.wasm").write_bytes(bytes(2**24))
    address = ("127.0.0.1", running.port)
    silent, broken, greedy = (socket.create_connection(address, timeout=5) for _ in range(3))
    broken.sendall(b"GET /runtime/ort.wasm HTTP/1.1\r\nHost: localhost\r\n\r\n")
    broken.close()
    greedy.sendall(b"GET /runtime/ort.wasm HTTP/1.1\r\nHost: localhost\r\n\r\n")  # and reads nothing
    start = time.monotonic()
    assert all(ask(running).status == 200 for _ in range(10))
    assert time.monotonic() - start < 2
    assert silent.recv(1) == b""  # closed after the timeout
    silent.close()
    greedy.close()
    assert capfd.readouterr().err == ""


def test_many_clients_at_once(running, page):
    content, found = (page / "page.js").read_bytes(), []
    clients = [threading.Thread(target=lambda: found.append(ask(running, "/page.js").body)) for _ in range(40)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert found == [content] * len(clients)


def test_ports_and_hosts_that_can_not_be_had(running):
    with pytest.raises(UserError, match=f"port: {running.port} is in use"):
        PageServer({}, port=running.port)
    with pytest.raises(UserError, match="port must be from 0 to 65535, got 65536"):
        PageServer({}, port=65536)
    with pytest.raises(UserError, match="host: there is no host ''"):
        PageServer({}, host="")
    with pytest.raises(UserError, match=r"host: 192\.0\.2\.1 is not an address of this computer"):
        PageServer({}, host="192.0.2.1")  # RFC 5737: nobody's


def test_networks_that_can_not_be_offered(model, tmp_path):
    with_metadata(model, tmp_path / "styles.onnx", {})
    with pytest.raises(UserError, match="model: two networks are called styles"):
        read_models(["styles", tmp_path / "styles.onnx"])
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(ModelError, match=r"text\.onnx is damaged"):
        read_models([tmp_path / "text.onnx"])


def test_the_command_serves_until_it_is_interrupted(page, model, monkeypatch, capsys):
    seen = []

    def interrupt(running):
        seen.append(running.url)
        raise KeyboardInterrupt

    monkeypatch.setattr(PageServer, "serve_forever", interrupt)
    opened = threading.Event()
    monkeypatch.setattr(command.webbrowser, "open", lambda url: (seen.append(url), opened.set()))
    assert cli.main(["serve", "--port", "0", "--model", model]) == 130
    (url,) = seen
    assert capsys.readouterr().out == f"{url} (Ctrl-C ends it)\n"
    assert not opened.is_set()
    assert cli.main(["serve", "--port", "0", "--host", "0.0.0.0", "--model", model, "--open"]) == 130
    assert opened.wait(5)
    assert seen[1] == seen[2]
    assert capsys.readouterr().out == f"{seen[1]}, and at this computer's other addresses (Ctrl-C ends it)\n"


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_an_interruption_ends_it_at_once_whatever_clients_do(page, model):
    (page / "runtime/ort.wasm").write_bytes(bytes(2**24))
    code = """
import pathlib, sys
from nst_lightning import cli
from nst_lightning.serving import site
site.PAGE_FOLDERS = (pathlib.Path(sys.argv.pop(1)),)
sys.exit(cli.main())
"""
    words = [sys.executable, "-c", code, page, "serve", "--port", "0", "--model", model]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        port = int(re.match(r"http://127\.0\.0\.1:(\d+)/ ", process.stdout.readline())[1])
        clients = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(2)]
        clients[0].sendall(b"GET /runtime/ort.wasm HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert clients[0].recv(8) == b"HTTP/1.1"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=5) == 130
        assert process.stderr.read() == ""
    for client in clients:
        client.close()


def test_without_a_built_page_the_command_says_how_to_build_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(site, "PAGE_FOLDERS", (tmp_path,))
    assert cli.main(["serve", "--port", "0"]) == 2
    assert capsys.readouterr().err.startswith("nst-lightning: serve: the page is not built here; `make web`")
