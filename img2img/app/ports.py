"""Whether a port is free, checked before models are loaded."""

import errno
import os
import socket
from typing import Any

from img2img.errors import Img2ImgError, UsageError

ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # of another machine, or IPv6 is disabled


def require_free(host: str, port: int) -> None:
    """Raises UsageError where this machine does not have the address, and Img2ImgError where the
    port is in use or not permitted. Port 0 stands for any free port.
    """
    try:
        addresses = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError):
        raise UsageError(
            f"--host: there is no host {host!r}. Use 127.0.0.1, or 0.0.0.0 for all addresses of "
            "this machine."
        ) from None
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
            f"{host} is not an address of this machine. Use one of its addresses with --host, "
            "127.0.0.1, or 0.0.0.0 for all."
        )


def _bind(family: int, address: tuple[Any, ...]) -> None:
    """Bind the address as a server would, and release it."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":  # on Windows it would allow to share a used port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind(address)


def _message(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} is in use. Choose another with --port, or stop the program that uses it."
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"No permission to listen on port {port}. Choose one above 1023 with --port."
    return f"Can't listen on port {port} ({error.strerror}). Choose another with --port."
