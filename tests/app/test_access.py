"""Whom a server answers: by the name that it is called, the page that calls it, and the token."""

import socket
import threading
from contextlib import contextmanager

import pytest
import uvicorn
from starlette.testclient import TestClient

from img2img.app.access import LOCAL, Access
from img2img.app.api import create_app
from img2img.app.models import Models
from img2img.errors import UsageError

EVERYWHERE = Access("0.0.0.0", ("pictures.example.org",))


@pytest.mark.parametrize(
    ("access", "answered", "refused"),
    [
        (
            LOCAL,
            ["localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1:1", "[::1]:8000", "127.0.0.2"],
            ["evil.example", "localhost.evil.example", "192.168.1.5", "127.0.0.1.evil.example", ""],
        ),
        (
            EVERYWHERE,
            ["192.168.1.5:8000", "[fe80::1]", "pictures.example.org", "Pictures.Example.org:443"],
            ["evil.example", "a.pictures.example.org", "pictures.example.org.evil.example", "a b"],
        ),
        (Access("192.168.1.5"), ["192.168.1.5", "localhost"], ["192.168.1.6", "evil.example"]),
        (Access("[fe80::1]"), ["[FE80:0:0::1]:80"], ["[fe80::2]"]),
        (Access("server.lan"), ["server.lan:8000"], ["other.lan"]),
        (Access(names=("*",)), ["evil.example"], []),
        (Access(names=("Bücher.example",)), ["xn--bcher-kva.example:80"], ["bucher.example"]),
        (Access(names=("faß.example",)), ["xn--fa-hia.example"], ["fass.example"]),
    ],
)
def test_names_that_are_the_servers_are_answered(access, answered, refused):
    assert [host for host in answered if not access.answers_to(host)] == []
    assert [host for host in refused if access.answers_to(host)] == []


@pytest.mark.parametrize(
    ("origin", "host", "taken"),
    [
        ("http://localhost:8000", "localhost:8000", True),
        ("https://pictures.example.org", "pictures.example.org", True),
        ("https://pictures.example.org", "pictures.example.org:443", True),
        ("http://localhost:3000", "localhost:8000", False),
        ("http://localhost", "localhost:8000", False),
        ("http://evil.example", "localhost:8000", False),
        ("https://friend.example", "localhost:8000", True),
        ("https://FRIEND.example", "localhost:8000", True),
        ("http://friend.example", "localhost:8000", False),
        ("https://friend.example.evil.example", "localhost:8000", False),
        ("null", "localhost:8000", False),
        ("", "localhost:8000", False),
        ("file://", "localhost:8000", False),
        ("http://localhost:8000", None, False),
    ],
)
def test_pages_of_the_server_and_those_named_may_call_it(origin, host, taken):
    access = Access(origins=("https://friend.example",))
    assert access.takes_from(origin, host) == taken


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"names": ("http://a",)}, "--allow-host http://a: give the name alone"),
        ({"names": ("a:8000",)}, "--allow-host a:8000: give the name alone"),
        ({"origins": ("example.org",)}, "--cors example.org: give scheme and name"),
        ({"origins": ("https://example.org/a",)}, "--cors https://example.org/a: give scheme"),
        ({"names": ("a..ü",)}, r"--allow-host a\.\.ü: a\.\.ü can't be a name \(Empty Label\)"),
        ({"origins": ("https://a_ü",)}, "--cors https://a_ü: a_ü can't be a name"),
        ({"origins": ("https://a:b",)}, "--cors https://a:b: give scheme and name"),
        ({"token": "short"}, "--token needs at least 8"),
        ({"token": "with a space"}, "--token needs at least 8"),
    ],
)
def test_what_can_be_no_name_is_wrong_usage(wrong, message):
    with pytest.raises(UsageError, match=message):
        Access(**wrong)


@contextmanager
def client_of(translator, access: Access = LOCAL):
    models = Models([str(translator.path)], "cpu")
    with TestClient(create_app(models, access=access)) as client:
        yield client


def test_a_page_that_points_its_name_here_reads_nothing(invert):
    with client_of(invert) as client:
        for path in (
            "/v1/models",
            "/docs",
            "/openapi.json",
            "/metrics",
            "/static/favicon-32x32.png",
        ):
            refused = client.get(path, headers={"Host": "evil.example:8000"})
            assert refused.status_code == 403
            assert "does not answer to the name evil.example:8000" in refused.json()["detail"]
            assert client.get(path).status_code == 200


def test_a_foreign_page_sends_nothing_and_reads_nothing(invert):
    foreign = {"Origin": "https://evil.example"}
    asked = {**foreign, "Access-Control-Request-Method": "POST"}
    with client_of(invert) as client:
        for refused in (
            client.get("/v1/models", headers=foreign),
            client.post("/v1/translate", content=b"x", headers=foreign),
            client.options("/v1/translate", headers=asked),
        ):
            assert refused.status_code == 403
            assert "Pages of https://evil.example may not" in refused.json()["detail"]
            assert not [name for name in refused.headers if name.startswith("access-control")]
        assert client.get("/metrics").text.count("img2img_requests_total{") == 0


def test_a_page_that_is_named_may_call_without_the_visitors_cookies(invert):
    access = Access(origins=("https://friend.example",))
    friend = {"Origin": "https://friend.example"}
    asked = {
        **friend,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    with client_of(invert, access) as client:
        for answer in (
            client.get("/v1/models", headers=friend),
            client.options("/v1/translate", headers=asked),
        ):
            assert answer.status_code == 200
            assert answer.headers["access-control-allow-origin"] == "https://friend.example"
            assert "access-control-allow-credentials" not in answer.headers
        assert client.get("/v1/models", headers={"Origin": "https://other"}).status_code == 403


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("https://Example.org", "https://example.org"),
        ("HTTPS://example.com:443", "https://example.com"),
        ("http://example.com:80", "http://example.com"),
        ("http://example.com:443", "http://example.com:443"),
        ("https://bücher.example:8443", "https://xn--bcher-kva.example:8443"),
        ("http://[FE80::1]:80", "http://[fe80::1]"),
    ],
)
def test_a_page_is_known_by_what_browsers_send_for_it(invert, given, sent):
    with client_of(invert, Access(origins=(given,))) as client:
        answer = client.get("/v1/models", headers={"Origin": sent})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == sent


def test_raw_requests_with_hosts_of_every_kind(invert):
    """As a browser or an attacker sends them, through uvicorn."""
    app = create_app(Models([str(invert.path)], "cpu"))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            threading.Event().wait(0.01)
        address = server.servers[0].sockets[0].getsockname()

        def status(*headers: str, version: str = "1.1") -> int:
            lines = [f"GET /healthz HTTP/{version}", *headers, "Connection: close", "", ""]
            with socket.create_connection(address, timeout=10) as connection:
                connection.sendall("\r\n".join(lines).encode())
                return int(connection.recv(100).split()[1])

        assert status("Host: localhost") == 200
        assert status("hOST:   127.0.0.1:99   ") == 200
        assert status(version="1.0") == 200  # health checks of old proxies
        assert status("Host: evil.example") == 403
        assert status("Host: evil.example", version="1.0") == 403
        assert status("Host: localhost", "Host: evil.example") in (400, 403)
        assert status("Host: localhost", "X-Forwarded-Host: evil.example") == 200
        assert status("Host: evil.example", "X-Forwarded-Host: localhost") == 403
        assert status("Host: localhost", "Origin: http://localhost", "Origin: http://a") == 403
        assert status() == 400  # HTTP/1.1 has a Host
    finally:
        server.should_exit = True
        thread.join(10)


def test_a_token_is_needed_but_by_probes(invert):
    with client_of(invert, Access(token="correct-horse")) as client:
        for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 200
        for path in ("/v1/models", "/metrics"):
            for headers in (
                {},
                {"Authorization": "Bearer wrong-horse"},
                {"Authorization": "Bearer"},
                {"Authorization": "Basic correct-horse"},
                {"Authorization": b"Bearer \xff\xff"},
            ):
                refused = client.get(path, headers=headers)
                assert (refused.status_code, "--token" in refused.text) == (401, True)
                assert refused.headers["www-authenticate"] == "Bearer"
            given = {"Authorization": "Bearer correct-horse"}
            assert client.get(path, headers=given).status_code == 200
        assert client.post("/v1/translate", content=b"x").status_code == 401
        schema = client.get("/openapi.json").json()
        assert schema["paths"]["/v1/models"]["get"]["security"]


def test_probes_may_ask_for_the_head_alone(invert):
    with client_of(invert) as client:
        for path in ("/healthz", "/readyz"):
            answer = client.head(path)
            assert (answer.status_code, answer.content) == (200, b"")
