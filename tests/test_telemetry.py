"""Nothing leaves the machine, and nothing is written but where the documents say.

Commands run under strace, which sees what any library does, in whatever language.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SAMPLE, MODEL = ROOT / "examples" / "quickstart", ROOT / "weights" / "flat-to-3d.onnx"
SENT = ("connect", "sendto", "sendmsg", "sendmmsg")
MADE = ("open", "openat", "creat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "link")
# What every process may write to: no file that stays.
HARMLESS = ("/dev/", "/proc/")

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


class Watched:
    """A process under strace, with a home, a folder for temporary files and a place to work."""

    def __init__(self, folder: Path):
        self.home, self.temporary, self.work = (folder / n for n in ("home", "temporary", "work"))
        self.trace = folder / "trace"
        for path in (self.home, self.temporary, self.work):
            path.mkdir()

    def start(self, *command: object) -> subprocess.Popen:
        switches = ("CI", "TF_BUILD", "ORT_", "GRADIO_", "HF_", "NO_ALBUMENTATIONS", "RAY_", "XDG_")
        env = {k: v for k, v in os.environ.items() if not k.startswith(switches)}
        env |= {"HOME": str(self.home), "TMPDIR": str(self.temporary)}
        env |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)}
        traced = f"--trace={','.join((*SENT, *MADE))}"
        watch = ["strace", "-f", "-y", "--seccomp-bpf", traced, "-s", "400", "-o", self.trace]
        return subprocess.Popen(
            [*map(str, watch), *map(str, command)],
            cwd=self.work,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: object) -> str:
        process = self.start(*command)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        return output

    def calls(self, names: tuple[str, ...]) -> Iterator[str]:
        """The system calls of these names that succeeded or are under way."""
        for line in self.trace.read_text(errors="replace").splitlines():
            call = re.search(r"\b(\w+)\(", line)
            if call and call[1] in names and "= -1 E" not in line.replace("EINPROGRESS", ""):
                yield line

    def addresses(self) -> set[str]:
        """Hosts that were spoken to, name servers included; not this machine."""
        spoken = re.compile(
            r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"|TCP.*->\[?([^\]:]+)'
        )
        hosts = {
            host for line in self.calls(SENT) for m in spoken.finditer(line) for host in m.groups()
        }
        return {h for h in hosts if h and not h.startswith("127.") and h not in ("::1", "0.0.0.0")}

    def written(self) -> set[str]:
        """Files and folders made outside of the places for them."""
        allowed = (str(self.work), str(self.temporary), *HARMLESS)
        paths = set()
        for line in self.calls(MADE):
            if "open" in line and "O_CREAT" not in line:
                continue
            folder = re.search(r"AT_FDCWD<([^>]*)>|\(\d+<([^>]*)>", line)
            for name in re.findall(r'"((?:[^"\\]|\\.)*)"', line):
                base = next(filter(None, folder.groups()), "") if folder else str(self.work)
                paths.add(os.path.normpath(os.path.join(base, name)))
        return {path for path in paths if not (path + "/").startswith(allowed)}

    def require_quiet(self) -> None:
        assert self.trace.stat().st_size
        assert self.addresses() == set()
        assert self.written() == set()
        assert list(self.home.rglob("*")) == []
        # torch makes its folder for compiled code when it is imported.
        left = [p.name for p in self.temporary.iterdir() if not p.name.startswith("torchinductor_")]
        assert left == []


@pytest.fixture
def watched(tmp_path) -> Watched:
    return Watched(tmp_path)


IMG2IMG = (sys.executable, "-m", "img2img")


def test_a_look_up_and_a_file_at_home_are_seen(watched):
    """Otherwise the tests below could not fail."""
    script = (
        "import os, pathlib, socket\n"
        "pathlib.Path.home().joinpath('id').write_text('1')\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.connect(('192.0.2.1', 53))"  # of the addresses that belong to nobody: nothing is sent
    )
    watched.run(sys.executable, "-c", script)
    assert watched.addresses() == {"192.0.2.1"}
    assert watched.written() == {str(watched.home / "id")}


@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_translate_is_quiet(watched, provider):
    flat = SAMPLE / "test" / "flat"
    watched.run(*IMG2IMG, "translate", flat, "-o", "out", "-m", MODEL, "--provider", provider)
    assert len(list((watched.work / "out").glob("*.webp"))) == len(list(flat.iterdir()))
    watched.require_quiet()


@pytest.mark.parametrize(
    "line",
    [
        ["info", MODEL],
        ["doctor"],
        ["check", "--a", SAMPLE / "test" / "flat", "--b", SAMPLE / "test" / "3d"],
    ],
    ids=lambda line: line[0],
)
def test_commands_that_write_nothing_are_quiet(watched, line):
    watched.run(*IMG2IMG, *line)
    watched.require_quiet()
    assert list(watched.work.iterdir()) == []


def test_train_is_quiet(watched):
    small = "--size 32 --resize 36 --width 4 --d-width 4 --d-layers 2 --batch 2 --steps 4"
    folders = ["--a", SAMPLE / "test" / "flat", "--b", SAMPLE / "test" / "3d"]
    line = [*IMG2IMG, "train", "--mode", "pix2pix", *folders, *small.split(), "--name", "tiny"]
    watched.run(*line, "--workers", "1", "--device", "cpu")
    assert (watched.work / "runs" / "tiny" / "weights.safetensors").exists()
    watched.require_quiet()


@pytest.mark.parametrize(
    ("command", "ready"), [("serve", "/readyz"), ("demo", "/config")], ids=["serve", "demo"]
)
def test_a_server_is_quiet(watched, command, ready):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = watched.start(*IMG2IMG, command, "-m", MODEL, "--port", port)
    try:
        address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 240
        while not answers(address + ready):
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < until
            time.sleep(0.2)
        if command == "serve":
            picture = next((SAMPLE / "test" / "flat").iterdir()).read_bytes()
            asked = urllib.request.Request(f"{address}/v1/translate", picture)
            with urllib.request.urlopen(asked) as answer:
                assert answer.read(4) == b"\x89PNG"
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=300)  # strace is slow, and other tests run beside it
    watched.require_quiet()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_a_switch_of_the_user_stays(monkeypatch):
    script = "import os, img2img; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for given, expected in (({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")):
        env = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"} | given
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=env
        )
        assert done.stdout.strip() == expected
