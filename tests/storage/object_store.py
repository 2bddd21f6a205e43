"""A local object store, and a proxy that can make its requests fail."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

from pyarrow import fs

from tests.processes import free_ports

_ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>{}</Message></Error>"
_CODES = {503: "SlowDown", 500: "InternalError", 403: "AccessDenied"}


class Store:
    """An S3-compatible server with one bucket, `box`."""

    def __init__(self, port: int):
        self.port = port
        self.files = fs.S3FileSystem(
            endpoint_override=f"127.0.0.1:{port}", scheme="http", region="us-east-1", allow_bucket_creation=True
        )
        self.files.create_dir("box")

    def uri(self, path: str, port: int | None = None, bucket: str = "box") -> str:
        """The URI of a file or folder, as used in a configuration."""
        return f"s3://{bucket}/{path}?endpoint_override=127.0.0.1:{port or self.port}&scheme=http&region=us-east-1"

    def write(self, path: str, content: bytes) -> str:
        """Write a file to the bucket, and return its URI."""
        with self.files.open_output_stream(f"box/{path}") as stream:
            stream.write(content)
        return self.uri(path)

    def put(self, key: str, content: bytes) -> None:
        """Write a file to the bucket under any key, also one that pyarrow does not write."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("PUT", f"/box/{quote(key)}", content)
        connection.getresponse().read()
        connection.close()

    def read(self, path: str) -> bytes:
        """The content of a file in the bucket."""
        with self.files.open_input_stream(f"box/{path}") as stream:
            return stream.read()

    def names(self, folder: str = "") -> list[str]:
        """The files below a folder in the bucket."""
        found = self.files.get_file_info(fs.FileSelector(f"box/{folder}".rstrip("/"), recursive=True))
        return sorted(info.path.removeprefix("box/") for info in found if info.type == fs.FileType.File)


@contextlib.contextmanager
def served():
    """A store in a separate process."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield Store(port)
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/moto-api/")
            connection.getresponse().read()
            connection.close()
            return
        time.sleep(0.1)
    raise TimeoutError("the store does not start")


class Disturbance:
    """A proxy for a store that answers the next `left` requests with one of `methods` by `how`, a status or `reset`."""

    def __init__(self, store: Store):
        self.left, self.how = 0, 503
        self.methods = {"GET", "HEAD", "PUT", "POST", "DELETE"}
        self.requests: list[tuple[str, str]] = []
        self.num_received = self.num_sent = 0  # bytes of contents
        self._lock = threading.Lock()
        disturbance = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                disturbance.answer(self, store.port)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, port: int) -> None:
        body = _body(request)
        with self._lock:
            self.requests.append((request.command, request.path))
            self.num_received += len(body)
            fails = self.left > 0 and request.command in self.methods
            self.left -= fails
        if fails and self.how == "reset":
            request.close_connection = True
            request.connection.close()
        elif fails:
            status = int(self.how)
            self._send(request, status, {}, _ERROR.format(_CODES[status], "on purpose").encode())
        else:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            headers = {k: v for k, v in request.headers.items() if k.lower() not in ("transfer-encoding", "expect")}
            connection.request(request.command, request.path, body, headers | {"Content-Length": str(len(body))})
            answer = connection.getresponse()
            content = answer.read()
            with self._lock:
                self.num_sent += len(content)
            self._send(request, answer.status, dict(answer.getheaders()), content)
            connection.close()

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
        request.send_response_only(status)
        length = headers.pop("Content-Length", None) if request.command == "HEAD" else None
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                request.send_header(name, value)
        request.send_header("Content-Length", length or str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)


def _body(request: BaseHTTPRequestHandler) -> bytes:
    if request.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length") or 0))
    body = b""
    while size := int(request.rfile.readline().split(b";")[0], 16):
        body += request.rfile.read(size)
        request.rfile.readline()
    while request.rfile.readline().strip():
        pass  # trailers
    return body
