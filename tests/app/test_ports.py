"""What a server says of an address that it can't listen at."""

import errno
import socket
import sys
from types import SimpleNamespace

import pytest

from img2img.app import ports, server
from img2img.app.access import LOCAL
from img2img.app.ports import require_free
from img2img.cli import main
from img2img.errors import Img2ImgError, UsageError


@pytest.fixture
def taken():
    """A port that someone listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_port_in_use_is_taken_on_every_address_that_includes_it(taken, host):
    with pytest.raises(Img2ImgError, match=f"Port {taken} is in use. Choose another") as raised:
        require_free(host, taken)
    assert raised.value.exit_code == 1


def test_a_port_that_was_just_used_is_free(taken):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        listener.accept()[0].close()  # this end waits for the rest of the connection
        client.close()
    require_free("127.0.0.1", port)
    require_free("127.0.0.1", 0)


@pytest.mark.parametrize("host", ["203.0.113.1", "a..b"])
def test_a_host_that_is_not_this_machine_is_wrong_usage(host):
    with pytest.raises(UsageError, match=host):
        require_free(host, 0)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.EACCES, "No permission to listen on port 80. Choose one above 1023"),
        (errno.ENOBUFS, "Can't listen on port 80"),
    ],
)
def test_a_permission_error_says_permission(monkeypatch, code, said):
    def refuse(*_) -> None:
        raise OSError(code, "refused")

    monkeypatch.setattr(ports, "_bind", refuse)
    with pytest.raises(Img2ImgError, match=said):
        require_free("127.0.0.1", 80)


def test_a_machine_without_ipv6_has_its_localhost(monkeypatch):
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    bind = ports._bind

    def without_ipv6(family, address) -> None:
        if family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        bind(family, address)

    monkeypatch.setattr(ports, "_bind", without_ipv6)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    require_free("localhost", 0)


@pytest.mark.parametrize(
    "line", [["serve"], ["serve", "--workers", "2"], ["demo"]], ids=lambda line: " ".join(line)
)
def test_commands_tell_it_before_they_load_a_model(taken, line, monkeypatch, capsys):
    """There is no model of that name, which would be told next."""
    monkeypatch.setattr(sys, "argv", ["img2img", *line, "--port", str(taken), "-m", "no-model"])
    with pytest.raises(SystemExit) as ended:
        main()
    message = (
        f"Port {taken} is in use. Choose another with --port, or stop the program that uses it."
    )
    assert (ended.value.code, capsys.readouterr().err) == (1, f"img2img: {message}\n")


def test_a_server_that_does_not_start_has_failed(monkeypatch, invert):
    """uvicorn's own exit code, 3, would mean that a file is damaged."""

    def fail(*_, **__) -> None:
        raise SystemExit(3)

    monkeypatch.setattr(server, "uvicorn", SimpleNamespace(run=fail))
    files = (str(invert.path),)
    settings = server.Settings(files, "cpu", "auto", None, server.Limits(), LOCAL, "")
    with pytest.raises(Img2ImgError, match="did not start") as raised:
        server.run(settings, 0, 1)
    assert raised.value.exit_code == 1
