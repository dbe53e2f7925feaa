"""`img2img serve` under load, against the bare session: throughput, latencies, errors, memory.

    python benchmarks/serve.py [--requests 10000] [--json]
    python benchmarks/serve.py --write    # results, and the table of docs/performance.md

The model that ships, its own size, PNG to PNG. Server and clients share the processor: what the
clients cost is in the figures.
"""

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import machine
import page
import psutil

from img2img import Translator, images
from img2img.files import find_pictures, usable_cores
from img2img.infer.registry import shipped

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "serve-cpu.json"
PAGE = ROOT / "docs" / "performance.md"
MODEL = "flat-to-3d"
CLIENTS = (1, 8, 64)


class Server:
    """The command in a process of its own."""

    def __init__(self, provider: str):
        line = [sys.executable, "-m", "img2img", "serve", "-m", MODEL, "--port", "0"]
        line += ["--provider", provider]
        self.process = subprocess.Popen(
            line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        for told in self.process.stderr:
            if found := re.search(r"running on (http://\S+)", told):
                self.address = found[1]
                break
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    @property
    def memory(self) -> float:
        """MiB."""
        return psutil.Process(self.process.pid).memory_info().rss / 2**20

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


async def load(address: str, contents: list[bytes], clients: int, count: int) -> dict:
    """So many requests by so many clients, each of which asks again once it is answered."""
    seconds: list[float] = []
    statuses: dict[int, int] = {}
    left = iter(range(count))

    async def client(http: httpx.AsyncClient) -> None:
        for number in left:
            began = time.perf_counter()
            answer = await http.post("/v1/translate", content=contents[number % len(contents)])
            seconds.append(time.perf_counter() - began)
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as http:
        began = time.perf_counter()
        await asyncio.gather(*(client(http) for _ in range(clients)))
        whole = time.perf_counter() - began
    ordered = sorted(seconds)
    return {
        "clients": clients,
        "per_second": count / whole,
        "p50": statistics.median(ordered),
        "p99": ordered[int(len(ordered) * 0.99)],
        "errors": count - statuses.get(200, 0),
    }


def bare(provider: str, pictures: list) -> float:
    """Pictures a second of the session alone, one by one."""
    translator = Translator(MODEL, provider)
    for picture in pictures:
        translator(picture)
    began = time.perf_counter()
    for _ in range(10):
        for picture in pictures:
            translator(picture)
    return 10 * len(pictures) / (time.perf_counter() - began)


def measure(provider: str, count: int) -> dict:
    files = list(find_pictures(shipped("quickstart") / "test" / "flat"))[:32]
    contents = [file.read_bytes() for file in files]
    alone = bare(provider, [images.read(file).pixels for file in files])
    server = Server(provider)
    try:
        asyncio.run(load(server.address, contents, 8, 200))  # warm
        rows = [asyncio.run(load(server.address, contents, n, 600)) for n in CLIENTS]
        asyncio.run(load(server.address, contents, 64, 1000))
        before = server.memory
        asyncio.run(load(server.address, contents, 64, count))
        after = server.memory
    finally:
        server.close()
    return {"session": alone, "load": rows, "requests": count, "mib": [before, after]}


def table(result: dict) -> str:
    lines = [
        "| provider | clients | requests a second | of the session's | p50 | p99 | errors |",
        "|---|---|---|---|---|---|---|",
    ]
    for provider, found in result["providers"].items():
        for row in found["load"]:
            share = row["per_second"] / found["session"]
            lines.append(
                f"| {provider} | {row['clients']} | {row['per_second']:.0f} | {share:.0%} "
                f"| {1000 * row['p50']:.0f} ms | {1000 * row['p99']:.0f} ms | {row['errors']} |"
            )
    lines.append("")
    for provider, found in result["providers"].items():
        before, after = found["mib"]
        lines.append(
            f"{provider}: {found['session']:.0f} pictures a second by the session alone; memory "
            f"{before:.0f} MiB before {found['requests']:,} more requests of 64 clients, "
            f"{after:.0f} MiB after."
        )
    return "\n".join([*lines, "", f"{result['machine']}; {result['date']}; `benchmarks/serve.py`."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--providers", nargs="+", default=["cpu"])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    result = {
        **machine.measured(usable_cores()),
        "providers": {name: measure(name, given.requests) for name in given.providers},
    }
    if given.write:
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")
        page.fill(PAGE, "serve", table(result))
    print(json.dumps(result, indent=2) if given.json else table(result))


if __name__ == "__main__":
    main()
