"""A server of fixed files. What isn't in its table can't be asked for, so there are no paths to escape from."""

import errno
import hashlib
import io
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from socketserver import TCPServer
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from nst_lightning.errors import UserError, require

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "worker-src 'self' blob:",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
ISOLATION = {  # without it, browsers give WASM no threads
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}
HEADERS = {
    **ISOLATION,
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Permissions-Policy": "camera=(self), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
"""What every response says."""
CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/vnd.microsoft.icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
"""Content types by the endings of files; the computer's own table may lack some or be wrong."""
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


class PageServer(ThreadingHTTPServer):
    """Serves files from a table over HTTP, each client in a thread of its own.

    Where it listens to this computer alone, it answers only requests for the computer's own names, so that no page from
    elsewhere can reach it under a name of its own that leads here (DNS rebinding).

    Args:
        files: the content of files, or where they are on the disk, by their paths relative to the server's address.
            `index.html` is what the address itself leads to.
        host: the name or the address to listen at; `0.0.0.0` and `::` are all of this computer's.
        port: the port to listen at; 0 for any that is free.

    Raises:
        UserError: the host is unknown or not this computer, the port isn't one, is in use or isn't allowed.
    """

    allow_reuse_address = os.name == "posix"  # on Windows, it would let two servers share a port
    client_timeout = 20.0
    """Seconds after which a client that neither writes nor reads is disconnected."""
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, files: Mapping[str, Path | bytes], *, host: str = "127.0.0.1", port: int = 0) -> None:
        require("port", port, 0 <= port < 2**16, "from 0 to 65535")
        self.files = {f"/{path}": content for path, content in files.items()}
        self.files |= {"/": self.files["/index.html"]} if "/index.html" in self.files else {}
        self.address_family, address = _resolve(host, port)
        try:
            super().__init__(address, _Handler)
        except OSError as error:
            raise _explain(error, host, port) from None
        self.host, self.port = host, self.server_address[1]
        is_private = ip_address(str(self.server_address[0])).is_loopback
        self.allowed_hosts = {*LOOPBACK_NAMES, host.lower()} if is_private else None

    @property
    def url(self) -> str:
        """The address of the page, on this computer."""
        host = "localhost" if self.is_everywhere else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    @property
    def is_everywhere(self) -> bool:
        """Whether it listens at all addresses of this computer."""
        return self.server_address[0] in ("0.0.0.0", "::")

    def server_bind(self) -> None:
        """Bind without the look-up of the computer's name that HTTPServer makes, which may take seconds."""
        TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that are gone or don't go on reading."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version, default_request_version = "HTTP/1.1", "HTTP/1.0"
    disable_nagle_algorithm = True  # a file's beginning would wait for the client to confirm the headers

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(self.server.client_timeout)

    def do_GET(self) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # what follows would be taken for the next request
        if self.server.allowed_hosts is not None and self._host() not in self.server.allowed_hosts:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        content = self.server.files.get(path := unquote(self.path.partition("?")[0]))
        try:
            body, length, tag = _open(content)
        except OSError:  # not in the table, or gone from the disk
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with body:
            matches = self.headers.get("If-None-Match", "").replace("W/", "").split(",")
            if tag in map(str.strip, matches):
                self._send_head(HTTPStatus.NOT_MODIFIED, {"ETag": tag})
                return
            kind = CONTENT_TYPES.get(PurePosixPath("index.html" if path == "/" else path).suffix)
            described = {"Content-Type": kind or "application/octet-stream", "Content-Length": str(length)}
            self._send_head(HTTPStatus.OK, {**described, "ETag": tag})
            if self.command == "GET":
                shutil.copyfileobj(body, self.wfile, 2**18)

    do_HEAD = do_GET  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send a plain line that repeats nothing of the request. Other methods, which are unknown here, are refused."""
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        line = f"{status.value} {status.phrase}\n".encode()
        self.close_connection = True
        described = {"Content-Type": CONTENT_TYPES[".txt"], "Content-Length": str(len(line)), "Connection": "close"}
        allowed = {"Allow": "GET, HEAD"} if status == HTTPStatus.METHOD_NOT_ALLOWED else {}
        self._send_head(status, described | allowed)
        if self.command != "HEAD":
            self.wfile.write(line)

    def _send_head(self, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _host(self) -> str | None:
        """The name that the client knows the server by, without the port, which a tunnel may change."""
        try:
            return urlsplit(f"//{self.headers.get('Host', '')}").hostname
        except ValueError:  # brackets that don't match
            return None

    def version_string(self) -> str:
        return "nst-lightning"

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def _open(content: Path | bytes | None) -> tuple[BinaryIO, int, str]:
    """What to send, its length in bytes, and its tag, which changes with it."""
    if content is None:
        raise FileNotFoundError
    if isinstance(content, bytes):
        return io.BytesIO(content), len(content), f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    body = content.open("rb")
    found = os.fstat(body.fileno())
    return body, found.st_size, f'"{found.st_mtime_ns:x}-{found.st_size:x}"'


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        raise UserError.about("host", f"there is no host {host!r}") from None
    return family, address


def _explain(error: OSError, host: str, port: int) -> Exception:
    """What is wrong with a host or port that can't be listened at."""
    if error.errno == errno.EADDRINUSE:
        return UserError.about("port", f"{port} is in use; choose another, or 0 for any that is free")
    if error.errno == errno.EACCES:
        return UserError.about("port", f"{port} is reserved; choose one from 1024, or 0 for any that is free")
    if error.errno == errno.EADDRNOTAVAIL:
        return UserError.about("host", f"{host} is not an address of this computer")
    return error
