"""Who may talk to a server: the names that it answers to, and the pages that may call it.

A page of a stranger that is open in a browser on this machine reaches every port of it. Such a page
calls with its own address in the header Origin, or it has a name of its own that its owner points
at this machine (DNS rebinding), which is then in the header Host.
"""

import ipaddress
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated

import idna
from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from img2img.errors import UsageError

# What a server listens to that other machines reach. (It is compared with, and not bound.)
ALL_ADDRESSES = ("0.0.0.0", "::", "")  # noqa: S104
# Headers of answers, beside the few that pages of other origins may always read.
READABLE = [
    "Content-Disposition",
    "Img2img-Clipped",
    "Img2img-Notes",
    "Retry-After",
    "Server-Timing",
]
DEFAULT_PORTS = {"http": ":80", "https": ":443"}
ORIGIN = re.compile(r"(https?)://([^/?#@:\s]+|\[[0-9a-f:.]+\])(:\d+)?")  # in lower case


@dataclass(frozen=True)
class Access:
    """What a server accepts. Names and origins are kept in the form in which browsers send them."""

    host: str = "127.0.0.1"  # the address or name that it listens to
    names: tuple[str, ...] = ()  # other names of it; * stands for any
    origins: tuple[str, ...] = ()  # of pages that may call it, as https://example.org; * for any
    token: str | None = None  # that requests must have

    def __post_init__(self) -> None:
        """Raises UsageError for what can be no name or no origin."""
        object.__setattr__(self, "names", tuple(map(_sent_name, self.names)))
        object.__setattr__(self, "origins", tuple(map(_sent_origin, self.origins)))
        if self.token is not None and not re.fullmatch(r"[!-~]{8,}", self.token):
            raise UsageError(
                "--token needs at least 8 letters, digits or signs, without spaces. "
                "`openssl rand -hex 16` makes one."
            )

    def answers_to(self, header: str) -> bool:
        """Whether a value of the header Host names this server, on any port."""
        name = _name(header)
        known = {"localhost", _name(self.host), *map(_name, self.names)}
        if name in known or "*" in self.names:
            return True
        if not (address := _address(name)):
            return False
        # Nobody can point the address of another machine at this one.
        everywhere = self.host.strip("[]") in ALL_ADDRESSES
        return everywhere or address.is_loopback or str(address) in map(_plain, known)

    def takes_from(self, origin: str, host: str | None) -> bool:
        """Whether a page of this origin may call the server that it calls `host`."""
        origin = origin.lower()
        if "*" in self.origins or origin in self.origins:
            return True
        parts = ORIGIN.fullmatch(origin)
        if not parts or host is None:
            return False
        standard, page = DEFAULT_PORTS[parts[1]], origin.partition("://")[2]
        return page.removesuffix(standard) == host.lower().strip().removesuffix(standard)


def _sent_name(name: str) -> str:
    """A name of --allow-host as browsers send it: in lower case, and in ASCII (xn--...)."""
    if name == "*" or _address(name):
        return name
    if not re.fullmatch(r"[\w.-]+", name):
        raise UsageError(f"--allow-host {name}: give the name alone, such as pictures.example.org.")
    return _ascii(name, f"--allow-host {name}")


def _sent_origin(origin: str) -> str:
    """An origin of --cors as browsers send it: like a name, and without the port of its scheme."""
    if origin == "*":
        return origin
    parts = ORIGIN.fullmatch(origin.lower())
    if not parts:
        raise UsageError(
            f"--cors {origin}: give scheme and name of the page, such as https://example.org."
        )
    scheme, name, port = parts.groups("")
    port = "" if port == DEFAULT_PORTS[scheme] else port
    return f"{scheme}://{_ascii(name, f'--cors {origin}')}{port}"


def _ascii(name: str, option: str) -> str:
    if name.isascii():
        return name.lower()
    try:
        return idna.encode(name, uts46=True).decode()
    except idna.IDNAError as error:
        raise UsageError(f"{option}: {name} can't be a name ({error}).") from None


def _name(host: str) -> str:
    """A host without its port, in the form in which names are compared."""
    name = host.strip().lower().rstrip(".")
    if name.startswith("["):
        return _plain(name[1:].partition("]")[0])
    return _plain(name if name.count(":") > 1 else name.partition(":")[0].rstrip("."))


def _plain(name: str) -> str:
    """Addresses in their shortest form; names as they are."""
    return str(_address(name) or name)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None


LOCAL = Access()  # of a server that only this machine reaches


class Gate:
    """Middleware that refuses requests to other names and from foreign pages, before anything of
    their bodies is read.
    """

    def __init__(self, app: ASGIApp, access: Access):
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        calls = scope["type"] in ("http", "websocket")
        refusal = self._refusal(Headers(scope=scope)) if calls else None
        if not refusal:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await JSONResponse({"detail": refusal}, 403)(scope, receive, send)

    def _refusal(self, headers: Headers) -> str | None:
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        # Browsers always send the header; health checks of HTTP/1.0 do not.
        if not all(map(self.access.answers_to, hosts)) or len(hosts) > 1:
            return (
                f"This server does not answer to the name {_shown(hosts)}. If that is a name of "
                "it, start it with --allow-host NAME."
            )
        host = hosts[0] if hosts else None
        if not all(self.access.takes_from(origin, host) for origin in origins):
            return (
                f"Pages of {_shown(origins)} may not call this server. If they should, start it "
                "with --cors ORIGIN."
            )
        return None


def _shown(values: Iterable[str]) -> str:
    return ", ".join(values)[:100]


def guards(access: Access) -> list[Middleware]:
    """The middleware of a server, the outermost first. Pages of `access.origins` may read answers,
    without the cookies and passwords that a browser keeps.
    """
    return [
        Middleware(Gate, access=access),
        Middleware(
            CORSMiddleware,
            allow_origins=access.origins,
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=("Authorization", "Content-Type"),
            expose_headers=READABLE,
        ),
    ]


def bearer(token: str) -> Callable[..., None]:
    """A dependency that refuses requests without `Authorization: Bearer TOKEN`."""
    header = HTTPBearer(auto_error=False)

    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(header)]) -> None:
        # Compared in a time that does not tell how much of it is right.
        if not given or not secrets.compare_digest(given.credentials.encode(), token.encode()):
            message = (
                "This server needs the header `Authorization: Bearer TOKEN`, with its --token."
            )
            raise HTTPException(401, message, {"WWW-Authenticate": "Bearer"})

    return check
