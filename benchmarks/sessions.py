"""The demo's memory over many visitors, each with a session of its own.

    python benchmarks/sessions.py [--sessions 1000]

Each visitor translates one small picture and leaves. Prints the process's resident memory, open
files and threads after every tenth of them.
"""

import argparse
import json
import re
import secrets
import subprocess
import sys
import threading
import time

import httpx
import psutil

from img2img.files import find_pictures
from img2img.infer.registry import shipped

MODEL = "flat-to-3d"


def function_of(client: httpx.Client) -> int:
    """The number of the page's function that translates."""
    functions = client.get("/config").json()["dependencies"]
    return next(each["id"] for each in functions if each["api_name"] == "translate")


def visit(client: httpx.Client, function: int, model: str, file_name: str, picture: bytes) -> None:
    """Translate a picture as the page does. Raises RuntimeError if the page reports an error."""
    path = client.post("/gradio_api/upload", files={"files": (file_name, picture)}).json()[0]
    session = secrets.token_hex(8)
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    data = [file, model, "ab", None, []]
    body = {"data": data, "fn_index": function, "session_hash": session}
    client.post("/gradio_api/queue/join", json=body).raise_for_status()
    source = f"/gradio_api/queue/data?session_hash={session}"
    with client.stream("GET", source) as events:
        for line in events.iter_lines():
            told = json.loads(line[5:]) if line.startswith("data:") else {}
            if told.get("msg") == "process_completed":
                if not told["success"]:
                    raise RuntimeError(f"The page answers {told}.")
                return
    raise RuntimeError("The page does not answer.")


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
            function = function_of(client)
            began = time.monotonic()
            print("sessions  MiB  files  threads")
            for number in range(sessions + 1):
                if number % max(1, sessions // 10) == 0:
                    memory = process.memory_info().rss / 2**20
                    row = f"{number:8}  {memory:3.0f}  {process.num_fds():5}"
                    print(f"{row}  {process.num_threads():7}", flush=True)
                if number < sessions:
                    visit(client, function, MODEL, f"{number}.webp", picture)
            print(f"{sessions / (time.monotonic() - began):.1f} sessions a second")
    finally:
        demo.terminate()
        demo.wait()


if __name__ == "__main__":
    main()
