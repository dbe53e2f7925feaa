"""A store of the S3 kind and a web server, on this machine, which can be made to fail."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer

import pytest

from img2img import remote

Failing = Callable[[str, str], int | None]  # method, path -> the status of a failure
ANSWERS = {403: "AccessDenied", 503: "ServiceUnavailable"}


class Bucket:
    """A new bucket of moto's server, and what happens on the way to it."""

    def __init__(self, name: str):
        import fsspec

        self.name, self.url = name, f"s3://{name}"
        self.fails: Failing = lambda method, path: None
        self.requests: list[tuple[str, str]] = []  # method, path
        self._files = fsspec.filesystem("s3", use_listings_cache=False)
        self._files.mkdir(name)

    def put(self, key: str, content: bytes) -> None:
        self._files.pipe_file(f"{self.name}/{key}", content)

    def get(self, key: str) -> bytes:
        return self._files.cat_file(f"{self.name}/{key}")

    def delete(self, key: str) -> None:
        self._files.rm_file(f"{self.name}/{key}")

    def keys(self, below: str = "") -> set[str]:
        """Names of objects, relative to a folder, but for those of records."""
        start = f"{self.name}/{below}"
        names = {name.removeprefix(start).lstrip("/") for name in self._files.find(start)}
        return {name for name in names if ".img2img/" not in name}

    def record(self, below: str) -> list[bytes]:
        names = self._files.find(f"{self.name}/{below}/.img2img")
        return [self._files.cat_file(name) for name in names]


class Gate:
    """Before moto's server: notes each request, and fails those that it is told to."""

    def __init__(self):
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self.behind = DomainDispatcherApplication(create_backend_app)
        self.bucket: Bucket | None = None

    def __call__(self, environ, start):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if self.bucket:
            self.bucket.requests.append((method, path))
            if status := self.bucket.fails(method, path):
                start(f"{status} failed", [("Content-Type", "application/xml")])
                return [f"<Error><Code>{ANSWERS[status]}</Code></Error>".encode()]
        return self.behind(environ, start)


@contextmanager
def serving(server: HTTPServer) -> Iterator[str]:
    """A context in which a thread answers requests, and its address."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def gate() -> Iterator[Gate]:
    import s3fs
    from werkzeug.serving import make_server

    s3fs.S3FileSystem.clear_instance_cache()  # with the addresses of other modules
    remote._file_system.cache_clear()
    gate = Gate()
    with serving(make_server("127.0.0.1", 0, gate, threaded=True)) as gate.address:
        yield gate


@pytest.fixture
def bucket(gate, monkeypatch, request) -> Bucket:
    """A new bucket, which this process and its children reach by their environment."""
    environment = {
        "AWS_ENDPOINT_URL": gate.address,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "a-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    gate.bucket = None
    digest = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]
    gate.bucket = Bucket(f"test-{digest}")
    gate.bucket.requests.clear()
    return gate.bucket


class Site:
    """A web server without parts of files. files: path -> content; asked: what was asked for."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.fails: Failing = lambda method, path: None
        self.asked: list[tuple[str, str]] = []
        self.tells_size = True
        self.breaks_off = 0  # how many times an answer ends in its middle
        self.address = ""


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer()

        def do_GET(self):
            self.answer()

        def answer(self):
            site.asked.append((self.command, self.path))
            content = site.files.get(self.path.partition("?")[0])
            failure = site.fails(self.command, self.path) or (None if content else 404)
            self.send_response(failure or 200)
            if not failure and site.tells_size:
                self.send_header("Content-Length", str(len(content)))
                self.send_header("ETag", hashlib.sha256(content).hexdigest())
            self.end_headers()
            if not failure and self.command == "GET":
                half = site.breaks_off > 0
                site.breaks_off -= half
                self.wfile.write(content[: len(content) // 2] if half else content)

        def log_message(self, *arguments):
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as site.address:
        yield site
