"""Exit with 0 if what the container serves answers, and with 1 if not.

Every container of the image is checked. Those that do not serve are healthy as long as they run.
"""

import http.client
import sys
from itertools import pairwise
from pathlib import Path

# The port of each command that serves, and what is asked for.
CHECKS = {"serve": (8000, "/readyz"), "demo": (7860, "/")}
SECONDS = 4


def server(command: list[str]) -> tuple[int, str] | None:
    """Port and path of the server that a command line starts; None if it starts none."""
    names = [Path(word).name for word in command]
    words = command[names.index("img2img") + 1 :] if "img2img" in names else []
    if not words or words[0] not in CHECKS:
        return None
    port, path = CHECKS[words[0]]
    for option, value in pairwise(words):
        if option == "--port":
            port = int(value)
        elif value.startswith("--port="):
            port = int(value.partition("=")[2])
    return port, path


def answers(port: int, path: str) -> bool:
    """Whether a request is answered with status 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    first = Path("/proc/1/cmdline").read_bytes().decode().split("\0")
    checked = server(first)
    sys.exit(0 if checked is None or answers(*checked) else 1)
