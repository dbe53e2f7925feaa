"""A server behind a proxy that offers it at a path of another: https://example.org/pictures."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from img2img.errors import UsageError

# The first parts of the paths that a server itself has. At one of them, what a proxy leaves out
# could not be told from what it leaves in.
RESERVED = {"docs", "healthz", "metrics", "openapi.json", "readyz", "static", "v1"}


def root_path_of(text: str) -> str:
    """The path at which a proxy offers a server, with a slash before it and none after it; empty
    for none. Raises UsageError for what is no path, and for one that the server itself has.
    """
    if not text.strip("/"):
        return ""
    if not re.fullmatch(r"(/[\w.~-]+)+", path := "/" + text.strip("/")):
        raise UsageError(f"--root-path {text}: give a path, such as /pictures.")
    if (first := path.split("/")[1]) in RESERVED:
        raise UsageError(
            f"--root-path {text}: the server itself has paths that begin with /{first}. Choose "
            "another, such as /pictures."
        )
    return path


class AtPath:
    """Middleware that tells the application its path, whether the proxy leaves it in what it passes
    on or not.
    """

    def __init__(self, app: ASGIApp, root_path: str):
        self.app, self.root_path = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.root_path and scope["type"] in ("http", "websocket"):
            path = scope["path"]
            if not f"{path}/".startswith(f"{self.root_path}/"):
                path = self.root_path + path
            scope = {**scope, "root_path": self.root_path, "path": path}
        await self.app(scope, receive, send)
