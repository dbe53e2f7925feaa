"""The demo's memory over many visitors, each with a session of its own.

    python benchmarks/sessions.py [--sessions 1000]

Each visitor translates one small picture and leaves. Prints the process's resident memory, open
files and threads after every tenth of them.
"""

import argparse
import json
import re
import subprocess
import sys
import threading
import time

import httpx
import psutil

from img2img.files import find_pictures
from img2img.infer.registry import shipped

MODEL = "flat-to-3d"


def visit(client: httpx.Client, number: int, function: int, picture: bytes) -> None:
    """One picture, as the page sends it."""
    path = client.post("/gradio_api/upload", files={"files": (f"{number}.webp", picture)}).json()[0]
    session = f"session-{number}"
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    data = [file, MODEL, "ab", None, []]
    body = {"data": data, "fn_index": function, "session_hash": session}
    client.post("/gradio_api/queue/join", json=body).raise_for_status()
    source = f"/gradio_api/queue/data?session_hash={session}"
    with client.stream("GET", source) as events:
        for line in events.iter_lines():
            if line.startswith("data:") and json.loads(line[5:])["msg"] == "process_completed":
                assert json.loads(line[5:])["success"], line
                return
    raise AssertionError("The page was not answered.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=1000)
    sessions = parser.parse_args().sessions
    line = [sys.executable, "-m", "img2img", "demo", "-m", MODEL, "--provider", "cpu"]
    demo = subprocess.Popen([*line, "--threads", "1"], stdout=subprocess.PIPE, text=True)
    found = None
    for told in demo.stdout:
        if found := re.search(r"http://127\.0\.0\.1:\d+", told):
            break
    threading.Thread(target=demo.stdout.read, daemon=True).start()
    process = psutil.Process(demo.pid)
    picture = next(find_pictures(shipped("quickstart") / "test" / "flat")).read_bytes()
    try:
        with httpx.Client(base_url=found[0], timeout=60) as client:
            config = client.get("/config").json()["dependencies"]
            function = next(each["id"] for each in config if each["api_name"] == "translate")
            began = time.monotonic()
            print("sessions  MiB  files  threads")
            for number in range(sessions + 1):
                if number % max(1, sessions // 10) == 0:
                    memory = process.memory_info().rss / 2**20
                    row = f"{number:8}  {memory:3.0f}  {process.num_fds():5}"
                    print(f"{row}  {process.num_threads():7}", flush=True)
                if number < sessions:
                    visit(client, number, function, picture)
            print(f"{sessions / (time.monotonic() - began):.1f} sessions a second")
    finally:
        demo.terminate()
        demo.wait()


if __name__ == "__main__":
    main()
