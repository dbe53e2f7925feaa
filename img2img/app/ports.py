"""Whether an address can be listened at, asked before models are loaded for nothing."""

import errno
import os
import socket
from typing import Any

from img2img.errors import Img2ImgError, UsageError

ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # another machine's, or IPv6 is switched off


def require_free(host: str, port: int) -> None:
    """Raises UsageError where this machine has no such address; Img2ImgError where its port is
    taken or not permitted. Port 0 is any that is free.
    """
    try:
        addresses = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError):
        raise UsageError(f"--host: there is no host {host!r}.") from None
    present = False
    for family, _, _, _, address in addresses:
        try:
            _bind(family, address)
            present = True
        except OSError as error:
            if error.errno not in ABSENT:
                raise Img2ImgError(_message(error, port)) from None
    if not present:
        raise UsageError(
            f"{host} is no address of this machine: "
            "--host takes one of its own, 127.0.0.1, or 0.0.0.0 for all."
        )


def _bind(family: int, address: tuple[Any, ...]) -> None:
    """As a server does, for a moment."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":  # on Windows it would share what is taken
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind(address)


def _message(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is taken: choose another with --port, or end what listens there."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"No permission to listen at port {port}: choose one above 1023 with --port."
    return f"It can't listen at port {port} ({error.strerror}): choose another with --port."
