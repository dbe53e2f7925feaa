"""The HTTP interface: what it answers, what it refuses, and that it stays up."""

import asyncio
import io
import itertools
import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator

import numpy as np
import psutil
import pytest
import schemathesis
from bundles import make_bundle
from hypothesis import HealthCheck, given, settings
from PIL import Image
from starlette.testclient import TestClient

from img2img import images
from img2img.app.access import Access
from img2img.app.api import Limits, create_app
from img2img.app.models import Models
from img2img.app.values import SUFFIXES
from img2img.infer.registry import shipped

LIMITS = Limits(max_bytes=20_000, max_pixels=4096, max_decoded=10_000, seconds=5, waiting=4)


@pytest.fixture
def client(invert, attributes):
    models = Models([str(invert.path), str(attributes.path)], "cpu")
    with TestClient(create_app(models, LIMITS)) as client:
        yield client


def file_of(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def pixels_of(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_a_picture_comes_back_translated_and_lossless(client, noise):
    picture = noise(0, 20, 30)
    answer = client.post("/v1/translate", content=file_of(picture))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert "translate;dur=" in answer.headers["server-timing"]
    assert np.array_equal(pixels_of(answer.content), 255 - picture)
    form = client.post("/v1/translate", files={"image": ("../../a.png", file_of(picture))})
    assert form.content == answer.content


@pytest.mark.parametrize("kind", ["png", "webp", "jpeg"])
def test_the_answer_is_of_the_format_that_was_asked_for(client, noise, kind):
    answer = client.post(f"/v1/translate?format={kind}", content=file_of(noise(0, 20, 30)))
    assert answer.headers["content-type"] == f"image/{kind}"
    assert Image.open(io.BytesIO(answer.content)).format == kind.upper()


def test_transparency_is_kept(client):
    picture = np.zeros((8, 8, 4), np.uint8)
    picture[:4, :, 3] = 200
    answer = client.post("/v1/translate", content=file_of(picture))
    assert np.array_equal(pixels_of(answer.content)[..., 3], picture[..., 3])


def test_half_transparent_colors_are_translated_as_they_are(client):
    answer = client.post("/v1/translate", content=file_of(TRANSPARENT))
    assert pixels_of(answer.content)[4, 4].tolist() == [226, 216, 196, 128]
    answer = client.post("/v1/translate?format=jpeg", content=file_of(TRANSPARENT))
    blended = [(value * 128 + 255 * 127) // 255 for value in (226, 216, 196)]
    assert np.abs(pixels_of(answer.content).astype(int) - blended).max() <= 6


def test_an_answer_has_no_metadata(client):
    exif = Image.Exif()
    exif[0x013B] = "Ada"
    for kind in ("png", "webp", "jpeg"):
        content = file_of(np.zeros((8, 8, 3), np.uint8), exif=exif, dpi=(300, 300))
        answer = client.post(f"/v1/translate?format={kind}", content=content)
        assert not Image.open(io.BytesIO(answer.content)).getexif()


def test_a_lossless_webp_comes_back_lossless_as_webp(client, noise):
    content = file_of(noise(0, 20, 30), "WEBP", lossless=True)
    answer = client.post("/v1/translate?format=webp", content=content)
    assert np.array_equal(pixels_of(answer.content), 255 - noise(0, 20, 30))
    lossy = client.post("/v1/translate?format=webp", content=file_of(noise(0, 20, 30)))
    assert not np.array_equal(pixels_of(lossy.content), 255 - noise(0, 20, 30))


def test_that_a_picture_was_animated_or_made_smaller_is_told_in_a_header(client, noise):
    frames = [Image.new("RGB", (40, 20), color) for color in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    answer = client.post("/v1/translate?max_side=20", content=buffer.getvalue())
    assert answer.headers["img2img-notes"] == (
        "animated or multi-page; the first frame was used; made smaller, from 40x20"
    )
    still = client.post("/v1/translate", content=file_of(noise(0, 8, 8)))
    assert "img2img-notes" not in still.headers


def test_a_jpeg_is_decoded_at_the_fraction_that_is_asked_for(client):
    photo = file_of(np.full((200, 300, 3), 77, np.uint8), "JPEG")
    answer = client.post("/v1/translate?max_side=60", content=photo)
    assert pixels_of(answer.content).shape == (40, 60, 3)
    assert answer.headers["img2img-notes"] == "made smaller, from 300x200"
    assert client.post("/v1/translate", content=photo).status_code == 413
    progressive = file_of(np.full((200, 300, 3), 77, np.uint8), "JPEG", progressive=True)
    refused = client.post("/v1/translate?max_side=60", content=progressive)
    assert (refused.status_code, "300x200" in refused.text) == (413, True)


def test_jpeg_xl_is_refused(client):
    answer = client.post("/v1/translate", content=b"\xff\x0a" + bytes(100))
    assert (answer.status_code, "JPEG XL is not accepted here" in answer.text) == (400, True)


def test_domains_are_chosen_by_name(client, noise):
    picture = noise(1, 8, 8) // 2
    answer = client.post("/v1/translate?model=attributes&to=hat,glasses", content=file_of(picture))
    assert np.array_equal(pixels_of(answer.content), picture + 50)


def test_models_are_described(client):
    first, second = client.get("/v1/models").json()
    assert (first["name"], first["domains"], first["provider"]) == ("invert", [], "cpu")
    assert (second["domains"], second["several"]) == (["hat", "smile", "glasses"], True)


TRANSPARENT = np.full((8, 8, 4), (29, 39, 59, 128), np.uint8)
SMALL = file_of(np.zeros((8, 8, 3), np.uint8))
LARGE = file_of(np.zeros((80, 60, 3), np.uint8))
BMP = (
    b"BM"
    + bytes(12)
    + (40).to_bytes(4, "little")
    + bytes(12)
    + (7).to_bytes(4, "little")
    + bytes(40)
)
SCANS = b"\xff\xd8" + b"\xff\xda\x00\x02" * 101
HUGE = file_of(np.zeros((300, 200, 3), np.uint8))


@pytest.mark.parametrize(
    ("query", "content", "status", "said"),
    [
        ("", b"", 400, "body contains no picture"),
        ("", b"no picture", 400, "not a picture"),
        ("", SMALL[:45], 400, "can't be decoded"),
        ("?model=../../etc/passwd", SMALL, 404, "There is no model '../../etc/passwd'. Models"),
        ("?model=attributes", SMALL, 400, "?to= none or any of"),
        ("?model=attributes&to=beard", SMALL, 400, "?to= none or any of"),
        ("?to=hat", SMALL, 400, "no domains to choose from"),
        ("?format=svg", SMALL, 422, "'png', 'webp', 'jpeg', 'tiff' or 'npy'"),
        ("?format=tiff", SMALL, 400, "`format` is one of png, webp, jpeg, and not tiff"),
        ("?max_side=0", SMALL, 422, "greater than or equal to 1"),
        ("", LARGE, 413, "60x80 is more than 4,096 pixels. ?max_side=64 makes"),
        ("?max_side=75", LARGE, 413, "56x75 is more than 4,096 pixels. ?max_side=64 makes"),
        ("?max_side=8192", LARGE, 413, "60x80 is more than 4,096 pixels."),
        ("?max_side=32", HUGE, 413, "200x300 is more than 10,000 pixels."),
        ("", SMALL[:16] + b"\0" * 40, 400, "the picture"),
        ("", BMP, 400, "header can't be read"),
        ("", SCANS, 400, "more than 100 scans"),
        ("", bytes(20_001), 413, "larger than 20,000 bytes"),
        ("", bytes(200_000), 413, "larger than 85,536 bytes"),
    ],
)
def test_what_can_not_be_done_is_refused_with_a_reason(client, query, content, status, said):
    answer = client.post(f"/v1/translate{query}", content=content)
    assert answer.status_code == status
    assert said in json.dumps(answer.json())
    assert client.post("/v1/translate", content=SMALL).status_code == 200


@pytest.mark.parametrize("pads", [{"multiple": 32}, {"multiple": 4, "min_size": 32}])
def test_what_counts_is_what_the_model_runs(tmp_path, pads):
    padding = make_bundle(tmp_path / "padding.onnx", **pads)
    with TestClient(create_app(Models([str(padding)], "cpu"), LIMITS)) as client:
        long = client.post("/v1/translate", content=file_of(np.zeros((1, 160, 3), np.uint8)))
        assert "160x32 is more than 4,096 pixels. ?max_side=64" in long.text
        short = client.post("/v1/translate", content=file_of(np.zeros((1, 128, 3), np.uint8)))
        assert short.status_code == 200


def test_a_side_that_the_format_can_not_have_is_told(client, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(images.LONGEST, "WEBP", 7)
        refused = client.post("/v1/translate?format=webp", content=SMALL)
        assert "8 px are more than a side of webp" in refused.json()["detail"]
        assert client.post("/v1/translate?format=png", content=SMALL).status_code == 200
    for form, longest in (("webp", 16_383), ("jpeg", 65_500)):
        images.encode(images.Picture(np.zeros((1, longest, 3), np.uint8)), SUFFIXES[form])


def came_in_parts(app, parts: Iterator[dict]) -> tuple[int, int]:
    """The status for a body of such messages, and how many of them were taken."""
    taken, answers = 0, []

    async def receive() -> dict:
        nonlocal taken
        taken += 1
        return next(parts)

    async def send(message: dict) -> None:
        answers.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/translate", "headers": []}
    asyncio.run(app({**scope, "query_string": b"", "root_path": ""}, receive, send))
    return answers[0]["status"], taken


def part(body: bytes) -> dict:
    return {"type": "http.request", "body": body, "more_body": True}


def test_a_body_of_unknown_length_is_counted_while_it_comes(invert):
    app = create_app(Models([str(invert.path)], "cpu"), LIMITS)
    endless = (part(bytes(8192)) for _ in itertools.count())
    assert came_in_parts(app, endless) == (413, 11)  # of 85,536 bytes that are allowed


def test_who_hangs_up_is_no_error_of_the_server(invert):
    app = create_app(Models([str(invert.path)], "cpu"), LIMITS)
    assert came_in_parts(app, iter([part(b"PNG"), {"type": "http.disconnect"}])) == (499, 2)


def test_a_form_without_its_picture_or_with_several_is_refused(client):
    other = client.post("/v1/translate", files={"file": SMALL})
    assert (other.status_code, "form field 'file'" in other.json()["detail"]) == (422, True)
    none = client.post("/v1/translate", files={"image": (None, "no file")})
    assert (none.status_code, "field `image`" in none.json()["detail"]) == (400, True)
    both = [("image", ("a", SMALL)), ("image", ("b", SMALL))]
    answer = client.post("/v1/translate", files=both)
    assert (answer.status_code, answer.json()["detail"]) == (
        422,
        "`image` is given 2 times. Give it once.",
    )


@pytest.mark.parametrize("names", [(), ("model",), ("model", "to"), ("model", "to", "format")])
def test_fields_of_a_form_are_the_parameters_of_the_query(client, names):
    asked = {"model": "attributes", "to": "hat,glasses", "format": "webp"}
    fields = {name: asked.pop(name) for name in names}
    answer = client.post("/v1/translate", params=asked, data=fields, files={"image": SMALL})
    assert answer.headers["content-type"] == "image/webp"
    assert abs(pixels_of(answer.content).astype(int) - 50).max() <= 2  # what both add, but for WebP


def test_a_side_of_the_form_makes_the_picture_smaller(client):
    asked, files = {"max_side": "32"}, {"image": LARGE}
    for query in ({}, asked):
        answer = client.post("/v1/translate", params=query, data=asked, files=files)
        assert pixels_of(answer.content).shape == (32, 24, 3)


def test_what_was_not_filled_in_in_a_form_is_not_given(client):
    empty = dict.fromkeys(("model", "to", "format", "max_side"), "")
    answer = client.post("/v1/translate", data=empty, files={"image": SMALL})
    assert np.array_equal(pixels_of(answer.content), 255 - pixels_of(SMALL))


def test_what_a_form_asks_for_is_counted_for_its_model(client):
    client.post("/v1/translate", data={"model": "attributes", "to": "hat"}, files={"image": SMALL})
    told = client.get("/metrics").text
    assert 'img2img_requests_total{model="attributes",status="200"} 1.0' in told


@pytest.mark.parametrize(
    ("query", "fields", "said"),
    [
        ("max_size=64", {}, "no query parameter 'max_size'. Known: model, to, format, max_"),
        ("image=a", {}, "There is no query parameter 'image'"),
        ("to=hat&to=smile", {}, "`to` is given 2 times. Give it once."),
        ("format=svg", {}, "`format`: Input should be 'png', 'webp', 'jpeg', 'tiff' or 'npy'."),
        ("model=", {}, "`model`: String should have at least 1 character."),
        ("max_side=", {}, "`max_side`: Input should be a valid integer"),
        ("", {"max_size": "64"}, "no form field 'max_size'. Known: image, model, to, format"),
        ("", {"mask": ("a.png", SMALL)}, "There is no form field 'mask'"),
        ("", {"to": ["hat", "smile"]}, "`to` is given 2 times. Give it once."),
        (
            "",
            {"format": "svg"},
            "`format`: Input should be 'png', 'webp', 'jpeg', 'tiff' or 'npy'.",
        ),
        ("", {"to": ("hat.txt", b"hat")}, "`to`: Input should be a valid string."),
        ("", {"max_side": "0"}, "`max_side`: Input should be greater than or equal to 1."),
        ("to=hat", {"to": "smile"}, "`to` is 'hat' in the query and 'smile' in the form."),
        ("format=png", {"format": "webp"}, "`format` is 'png' in the query and 'webp' in the f"),
    ],
)
def test_what_is_unknown_or_contradicts_itself_is_refused_by_name(client, query, fields, said):
    text = {name: value for name, value in fields.items() if not isinstance(value, tuple)}
    files = {"image": SMALL, **{name: fields[name] for name in fields if name not in text}}
    answer = client.post(f"/v1/translate?{query}", data=text, files=files)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert client.get("/metrics").text.count('status="200"') == 0


def test_the_list_of_models_takes_no_query(client):
    answer = client.get("/v1/models?name=invert")
    assert (answer.status_code, answer.json()["detail"]) == (
        422,
        "There is no query parameter 'name'. None is accepted here.",
    )
    assert client.get("/healthz?t=1").status_code == 200  # probes break caches with such


def test_the_form_is_described_as_the_query_is(client):
    asked = client.get("/openapi.json").json()["paths"]["/v1/translate"]["post"]
    form = asked["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    query = {each["name"]: each["schema"] for each in asked["parameters"]}
    assert list(query) == ["model", "to", "format", "max_side"]
    assert {name: form[name] for name in query} == query
    assert form["image"]["format"] == "binary"


def test_a_larger_picture_can_be_made_smaller_first(client):
    answer = client.post("/v1/translate?max_side=32", content=LARGE)
    assert pixels_of(answer.content).shape == (32, 24, 3)


def test_when_too_many_wait_the_next_is_told_to_come_again(client, monkeypatch, invert):
    block = threading.Event()
    original = type(invert).__call__

    def slow(self, *arguments):
        block.wait(10)
        return original(self, *arguments)

    monkeypatch.setattr(type(invert), "__call__", slow)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(client.post("/v1/translate", content=SMALL)))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    block.set()
    for thread in threads:
        thread.join()
    codes = [answer.status_code for answer in found]
    assert sorted(set(codes)) == [200, 429]
    assert codes.count(429) == 10 - LIMITS.waiting
    assert all(answer.headers["retry-after"] for answer in found if answer.status_code == 429)


def test_after_a_failure_of_the_runtime_the_next_is_answered(client, monkeypatch, invert):
    original = type(invert).__call__
    errors = iter([RuntimeError("of onnxruntime"), MemoryError()])

    def failing(self, *arguments):
        for error in errors:
            raise error
        return original(self, *arguments)

    monkeypatch.setattr(type(invert), "__call__", failing)
    for name in ("RuntimeError", "MemoryError"):
        failed = client.post("/v1/translate", content=SMALL)
        assert failed.status_code == 500
        assert f"failed to translate this picture ({name})" in failed.json()["detail"]
    assert client.post("/v1/translate", content=SMALL).status_code == 200


def test_a_picture_that_does_not_fit_into_memory_is_refused_with_what_to_do(
    client, monkeypatch, invert
):
    def failing(*_):
        raise RuntimeError("CUDA failure 2: out of memory ; GPU=0")

    monkeypatch.setattr(type(invert._session), "run", failing, raising=False)
    answer = client.post("/v1/translate", content=SMALL)
    assert answer.status_code == 413
    assert "needs more memory than the provider cpu has left" in answer.json()["detail"]


def test_what_takes_too_long_ends(invert, monkeypatch):
    monkeypatch.setattr(type(invert), "__call__", lambda *_: time.sleep(0.5))
    models = Models([str(invert.path)], "cpu")
    with TestClient(create_app(models, Limits(seconds=0.1))) as client:
        assert client.post("/v1/translate", content=SMALL).status_code == 504


def test_probes_and_numbers(invert, monkeypatch):
    app = create_app(Models([str(invert.path)], "cpu"))
    assert TestClient(app).get("/readyz").status_code == 503  # not started
    with TestClient(app) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json() == {"status": "ready"}
        client.post("/v1/translate", content=SMALL)
        client.post("/v1/translate?model=x", content=SMALL)
        told = client.get("/metrics").text
    assert 'img2img_requests_total{model="invert",status="200"} 1.0' in told
    assert 'img2img_requests_total{model="unknown",status="404"} 1.0' in told
    assert "img2img_requests_in_progress 0.0" in told


def test_the_page_that_explains_it_asks_no_other_server(client):
    page = client.get("/docs").text
    assert not re.findall(r"(?:src|href)=.https?:", page)
    for path in re.findall(r"/static/[\w.-]+", page):
        assert client.get(path).status_code == 200
    assert "/v1/translate" in client.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize("path", ["/v1/translate", "/v1/models", "/healthz", "/metrics"])
def test_strangers_find_no_server_error(invert, attributes, path):
    models = Models([str(invert.path), str(attributes.path)], "cpu")
    app = create_app(models, LIMITS, Access(names=("*",)))  # it is called by any name
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    [operation] = [found for name in schema[path] if (found := schema[path][name])]

    @given(operation.as_strategy())
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def ask(case):
        assert case.call().status_code < 500

    ask()


MODEL = shipped("weights") / "flat-to-3d.onnx"


@pytest.fixture
def server():
    """A function (options) -> (process, address) of the command in a process of its own."""
    started = []

    def start(*options):
        line = [sys.executable, "-m", "img2img", "serve", "-m", str(MODEL), "--port", "0"]
        process = subprocess.Popen([*line, *options], stderr=subprocess.PIPE, text=True)
        started.append(process)
        for told in process.stderr:
            if found := re.search(r"running on (http://127\.0\.0\.1:\d+)", told):
                break
        threading.Thread(target=process.stderr.read, daemon=True).start()
        return process, found[1]

    yield start
    for process in started:
        process.terminate()  # its workers, too
        process.wait(60)


def ask(address: str, content: bytes, path: str = "/v1/translate") -> tuple[int, bytes]:
    with urllib.request.urlopen(address + path, content or None, timeout=60) as answer:
        return answer.status, answer.read()


def test_the_page_that_explains_it_can_be_used(server, chromium, tmp_path):
    _, address = server("--provider", "cpu")
    (tmp_path / "a.png").write_bytes(SMALL)
    page = chromium.new_page()
    page.goto(f"{address}/docs")
    page.get_by_text("Translate a picture.").click()
    page.get_by_role("button", name="Try it out").click()
    page.set_input_files("input[type=file]", tmp_path / "a.png")
    with page.expect_response(f"{address}/v1/translate*") as waiting:
        page.get_by_role("button", name="Execute").click()
    assert waiting.value.status == 200
    assert waiting.value.headers["content-type"] == "image/png"
    page.close()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_what_was_accepted_is_finished_before_the_end(server, noise):
    process, address = server("--provider", "cpu")
    ask(address, SMALL)
    found = []
    content = file_of(noise(0, 1536, 1536))
    thread = threading.Thread(target=lambda: found.append(ask(address, content)))
    thread.start()
    while "img2img_requests_in_progress 1.0" not in ask(address, b"", "/metrics")[1].decode():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    thread.join()
    assert found[0][0] == 200
    assert pixels_of(found[0][1]).shape == (1536, 1536, 3)
    assert process.wait(20) is not None


def workers_of(process: subprocess.Popen) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children()
    alive = [each for each in children if each.status() != psutil.STATUS_ZOMBIE]
    return [each for each in alive if "spawn_main" in str(each.cmdline())]


def test_several_workers_serve_and_count_together_and_one_may_die(server):
    process, address = server("--workers", "2", "--provider", "cpu")
    for _ in range(12):
        deadline = time.monotonic() + 60
        while True:
            try:
                assert ask(address, SMALL)[0] == 200
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
    told = ask(address, b"", "/metrics")[1].decode()
    assert 'img2img_requests_total{model="flat-to-3d",status="200"} 12.0' in told
    workers_of(process)[0].kill()  # as a crash of the runtime ends it
    deadline = time.monotonic() + 60
    answered = 0
    while answered < 12:
        try:
            answered += ask(address, SMALL)[0] == 200
        except OSError:  # its connection was the dead worker's
            assert time.monotonic() < deadline
            time.sleep(0.2)
    workers = workers_of(process)
    process.kill()
    _, alive = psutil.wait_procs(workers, 60)
    assert not alive  # and the port is free
