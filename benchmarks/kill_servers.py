"""Kills of `serve` and `demo` while requests with uploads are in flight, for `kills.py`."""

import io
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path

import httpx
import psutil
from killer import ANEW, Killer, Lost, require_empty
from PIL import Image
from sessions import function_of, visit

import img2img.app.page
import img2img.app.server  # noqa: F401 (imported once, for all forks)

MODEL = "flat-noto-ab"
CLIENTS = 4
SMALL, LARGE = 64, 600  # px; uploads of the large picture are kept in a file, not in memory
SECONDS = 180  # in which a server answers, on a machine that does other things, too
BOUNDARY = "a-line-that-no-picture-has"


def serve(killer: Killer) -> Iterator[None]:
    """The next server answers as the one before, and leaves nothing of it in TMPDIR."""
    port = _free_port()
    command = ["serve", "-m", MODEL, "--provider", "cpu", "--threads", "1", "--port", str(port)]
    expected: dict[int, bytes] = {}
    while True:
        for _ in range(10):
            process = _started(killer, command, port, "/readyz")
            require_empty(killer.scratch)
            for side in (SMALL,) if expected else (SMALL, LARGE):
                answer = _translated(port, _picture(side))
                if answer != expected.setdefault(side, answer):
                    raise Lost("a server answers otherwise than the one before")
            with _load(port, expected):
                time.sleep(killer.random.uniform(0, 0.4))
                killer.end(process)
        _end_in_order(_started(killer, command, port, "/readyz"))
        require_empty(killer.scratch)
        yield


def server_workers(killer: Killer) -> Iterator[None]:
    """A killed worker is replaced, those of a killed server end, and the next server answers."""
    port = _free_port()
    command = ["serve", "-m", MODEL, "--provider", "cpu", "--threads", "1", "--port", str(port)]
    command += ["--workers", "2"]
    expected: dict[int, bytes] = {}
    while True:
        process = _started(killer, command, port, "/readyz", anew=True)
        _require_own(killer.scratch)
        for side in (SMALL, LARGE):
            expected.setdefault(side, _translated(port, _picture(side)))
        for _ in range(3):
            workers = _workers(process, 2)
            with _load(port, expected):
                time.sleep(killer.random.uniform(0, 0.5))
                killer.random.choice(workers).send_signal(signal.SIGKILL)
                killer.kills += 1
            if _answered(port, _picture(SMALL)) != expected[SMALL]:
                raise Lost("a new worker answers otherwise than the one before")
        workers = _workers(process, 2)
        with _load(port, expected):
            time.sleep(killer.random.uniform(0, 0.5))
            killer.end(process)
        _, alive = psutil.wait_procs(workers, SECONDS)
        if alive:
            raise Lost(f"{len(alive)} workers outlive their server")
        _end_in_order(_started(killer, command, port, "/readyz", anew=True))
        require_empty(killer.scratch)
        yield


def demo(killer: Killer) -> Iterator[None]:
    """The next page opens, and deletes the uploads and results of the one before."""
    port = _free_port()
    command = ["demo", "-m", MODEL, "--provider", "cpu", "--threads", "1", "--port", str(port)]
    while True:
        for _ in range(4):
            process = _started(killer, command, port, "/config")
            _require_own(killer.scratch)
            with _visitors(port):
                time.sleep(killer.random.uniform(0, 1.5))
                killer.end(process)
        _end_in_order(_started(killer, command, port, "/config"))
        require_empty(killer.scratch)
        yield


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _started(killer: Killer, command: list[str], port: int, path: str, anew: bool = False) -> int:
    """The process of a server that answers. Raises Lost if none does. anew: never in a fork."""
    process = killer.start(command, anew=anew or killer.random.random() < ANEW)
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}{path}", timeout=SECONDS).status_code == 200:
                return process
        except httpx.HTTPError:
            time.sleep(0.02)
        ended, _ = os.waitpid(process, os.WNOHANG)
        if ended or time.monotonic() > deadline:
            how = "has ended" if ended else f"does not answer in {SECONDS} s"
            raise Lost(f"the next server {how}: {killer.log[-3:]}")


def _end_in_order(process: int) -> None:
    os.kill(process, signal.SIGTERM)
    os.waitpid(process, 0)


def _workers(process: int, count: int) -> list[psutil.Process]:
    """The processes that serve, once there are so many. Raises Lost if there are not."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        children = psutil.Process(process).children()
        workers = [each for each in children if "spawn_main" in " ".join(_line(each))]
        if len(workers) == count:
            return workers
        time.sleep(0.05)
    raise Lost(f"a killed worker was not replaced: there are {len(workers)} of {count}")


def _line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has ended
        return []


def _require_own(scratch: Path) -> None:
    """Raises Lost where TMPDIR has more than the folder of the server that runs."""
    if len(left := sorted(os.listdir(scratch))) > 1:
        raise Lost(f"{scratch} keeps {left}")


@cache
def _picture(side: int) -> bytes:
    """A PNG of noise."""
    pixels = random.Random(side).randbytes(side * side * 3)
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), pixels).save(file, "PNG")
    return file.getvalue()


def _translated(port: int, picture: bytes) -> bytes:
    """The whole answer. Raises Lost for any but a translation."""
    answer = httpx.post(f"http://127.0.0.1:{port}/v1/translate", content=picture, timeout=SECONDS)
    if answer.status_code != 200:
        raise Lost(f"a server answers {answer.status_code}: {answer.text[:200]}")
    return answer.content


def _answered(port: int, picture: bytes) -> bytes:
    """Like `_translated`, asked again where the connection was that of a killed worker."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return _translated(port, picture)
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise Lost("no worker answers") from None
            time.sleep(0.05)


def _upload(port: int, picture: bytes, slow: bool) -> bytes:
    """The answer to a form with the picture, which is sent in pieces."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    body = head.encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]
            time.sleep(0.02 if slow else 0)

    answer = httpx.post(
        f"http://127.0.0.1:{port}/v1/translate",
        content=pieces(),
        headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
        timeout=SECONDS,
    )
    if answer.status_code != 200:
        raise Lost(f"a server answers {answer.status_code}: {answer.text[:200]}")
    return answer.content


@contextmanager
def _clients(ask: Callable[[int], None]) -> Iterator[None]:
    """A context in which clients ask, each with its number, again and again. The server is killed
    in it: clients that lose their connection ask no more. Raises Lost if a client does.
    """
    told: list[Lost] = []
    over = threading.Event()

    def client(number: int) -> None:
        while not over.is_set():
            try:
                ask(number)
            except httpx.HTTPError:
                time.sleep(0.01)
            except Lost as error:
                told.append(error)
                return

    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()  # before the next fork
    if told:
        raise told[0]


def _load(port: int, expected: dict[int, bytes]) -> AbstractContextManager[None]:
    """Clients that translate, by small bodies and large forms. An answer that is one is whole."""

    def ask(number: int) -> None:
        side = LARGE if number % 2 else SMALL
        picture = _picture(side)
        answer = _upload(port, picture, number > 2) if number % 2 else _translated(port, picture)
        if answer != expected[side]:
            raise Lost("an answer differs")

    return _clients(ask)


def _visitors(port: int) -> AbstractContextManager[None]:
    """Visitors of the page that upload pictures and translate them."""

    def ask(number: int) -> None:
        side = LARGE if number % 2 else SMALL
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS) as client:
            try:
                visit(client, function_of(client), MODEL, f"{number}.png", _picture(side))
            except RuntimeError as error:
                raise Lost(str(error)) from None

    return _clients(ask)
