"""Pictures in JSON, as base64."""

import asyncio
import base64
import io
import json

import numpy as np
import pytest
from fastapi import HTTPException
from PIL import Image
from starlette.testclient import TestClient

from img2img.app.api import Limits, create_app
from img2img.app.body_limit import LimitBody
from img2img.app.json_bodies import JsonBodies
from img2img.app.models import Models

LIMITS = Limits(max_bytes=20_000, max_pixels=4096, seconds=5)


@pytest.fixture
def client(invert, attributes):
    models = Models([str(invert.path), str(attributes.path)], "cpu")
    with TestClient(create_app(models, LIMITS)) as client:
        yield client


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def pixels_of(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


SMALL = encoded(png(np.zeros((8, 8, 3), np.uint8)))


def test_a_picture_in_json_is_translated_as_one_in_a_form(client, noise):
    picture = png(noise(0, 20, 30) // 2)
    fields = {"model": "attributes", "to": "hat,glasses", "format": "webp", "max_side": 15}
    for text in (encoded(picture), f"data:image/png;base64,{encoded(picture)}"):
        answer = client.post("/v1/translate", json={"image": text, **fields})
        form = client.post("/v1/translate", data=fields, files={"image": picture})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/webp"
        assert answer.content == form.content
    query = client.post("/v1/translate", params=fields, json={"image": encoded(picture)})
    assert query.content == form.content


def test_who_accepts_json_alone_gets_json(client, noise):
    picture = noise(0, 20, 30)
    only = {"Accept": "application/json"}
    answer = client.post("/v1/translate", json={"image": encoded(png(picture))}, headers=only)
    assert answer.headers["content-type"] == "application/json"
    assert "translate;dur=" in answer.headers["server-timing"]
    told = answer.json()
    assert told["media_type"] == "image/png"
    assert np.array_equal(pixels_of(base64.b64decode(told["image"])), 255 - picture)
    refused = client.post("/v1/translate", content=b"no picture", headers=only)
    assert (refused.status_code, "not a picture" in refused.json()["detail"]) == (400, True)
    assert client.get("/v1/models", headers=only).json()[0]["name"] == "invert"
    for other in ("*/*", "image/png", "text/html, application/json"):
        answer = client.post(
            "/v1/translate", json={"image": encoded(png(picture))}, headers={"Accept": other}
        )
        assert answer.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("{", 400, "The body is not JSON"),
        ("[" * 200_000, 413, "larger than"),
        ("[" * 20_000, 400, "The body is not JSON"),
        (b"\xff\xfe", 400, "The body is not JSON"),
        ("[1]", 400, "not an object"),
        ('"text"', 400, "not an object"),
        ("{}", 400, "no file in the field `image`"),
        ('{"image": null}', 400, "no file in the field `image`"),
        ('{"image": 5}', 400, "`image` is not a file in base64"),
        ('{"image": "%%%"}', 400, "`image` is not a file in base64"),
        ('{"image": "data:image/png"}', 400, "no picture"),
        ('{"image": ""}', 400, "no picture"),
        ('{"image": "AAAA"}', 400, "not a picture"),
        ('{"image": {"image": "AAAA"}}', 422, "no JSON field 'image' of this kind"),
        ('{"image": "AAAA", "image": "AAAA"}', 422, "'image' is given 2 times"),
        ('{"\\ud800": "AAAA", "\\ud800": "AAAA"}', 422, "is given 2 times"),
        ('{"to": "\\ud800", "image": "AAAA"}', 422, "`to` is not text"),
        ('{"image": "\\ud800"}', 400, "`image` is not a file in base64"),
        (json.dumps(dict.fromkeys(map("a{}".format, range(33)))), 422, "more than 32 fields"),
        (json.dumps({"a": dict.fromkeys(map(str, range(33)))}), 422, "more than 32 fields"),
        ('{"image": "AAAA", "size": "AAAA"}', 422, "no form field 'size'"),
        ('{"a\\r\\nb": "AAAA"}', 422, "no JSON field"),
        ('{"a\\"; filename=\\"b": "AAAA"}', 422, "no JSON field"),
        ('{"a\\\\": "AAAA"}', 422, "no JSON field"),
        ('{"image; x=1": "AAAA"}', 422, "no form field 'image; x=1'"),
        ('{"image": "AAAA", "format": "svg"}', 422, "`format`: Input should be"),
        ('{"image": "AAAA", "to": "a\\r\\n--x"}', 400, "no domains to choose from"),
        ('{"image": "AAAA", "to": ["hat"]}', 422, "no JSON field 'to' of this kind"),
        ("", 400, "no file in the field `image`"),
        (json.dumps({"image": encoded(bytes(20_001))}), 413, "larger than 20,000 bytes"),
        (json.dumps({"image": encoded(bytes(100_000))}), 413, "larger than 114,048 bytes"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_json_that_is_no_picture_is_refused_with_a_reason(client, body, status, message):
    kind = {"Content-Type": "Application/JSON; charset=utf-8"}
    answer = client.post("/v1/translate", content=body, headers=kind)
    assert (answer.status_code, answer.json()["detail"]) == (status, answer.json()["detail"])
    assert message in answer.json()["detail"]
    assert client.post("/v1/translate", json={"image": SMALL}).status_code == 200


def test_a_picture_of_the_largest_size_fits_in_json(client):
    content = base64.b64decode(SMALL)
    largest = content + bytes(LIMITS.max_bytes - len(content))
    assert client.post("/v1/translate", json={"image": encoded(largest)}).status_code == 200


def test_json_in_parts_is_joined_and_limited_while_it_arrives():
    got, sent, taken = [], [], 0
    content = json.dumps({"image": encoded(b"picture")}).encode()

    async def answering(scope, receive, send) -> None:
        got.append(await receive())
        kind = {"type": "http.response.start", "status": 200}
        await send({**kind, "headers": [(b"content-type", b"image/png")]})
        for part in (b"ans", b"", b"wer"):
            await send({"type": "http.response.body", "body": part, "more_body": part != b"wer"})

    async def send(message) -> None:
        sent.append(message)

    async def receive():
        nonlocal taken
        taken += 1
        part = content[5 * taken - 5 : 5 * taken]
        return {"type": "http.request", "body": part, "more_body": 5 * taken < len(content)}

    json_in_and_out = [(b"content-type", b"application/json"), (b"accept", b"application/json")]
    scope = {"type": "http", "headers": json_in_and_out}
    app = LimitBody(JsonBodies(answering), most=30)
    asyncio.run(app(scope, receive, send))
    assert taken == len(content) / 5
    assert b"\r\n\r\npicture\r\n" in got[0]["body"]
    assert json.loads(sent[1]["body"]) == {
        "image": encoded(b"answer"),
        "media_type": "image/png",
    }
    content, taken = bytes(1000), 0
    with pytest.raises(HTTPException, match="larger than 40 bytes"):
        asyncio.run(app(scope, receive, send))
    assert taken == 9
