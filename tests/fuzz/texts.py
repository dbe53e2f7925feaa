"""Lists, settings and records, which are text, and archives of them."""

import contextlib
from pathlib import Path

from fuzz.scratch import folder, written
from img2img.errors import DataError
from img2img.files import PassedOver

SMALLEST = bytes.fromhex("424d1e000000000000001a0000000c00000001000100010018000000ff00")  # a BMP


def attributes(content: bytes) -> None:
    """A list of the attributes of two pictures."""
    from img2img.data.attributes import read_attributes

    pictures = folder() / "listed"
    for name in ("1.bmp", "sub/2.bmp"):
        if not (pictures / name).exists():
            written(f"listed/{name}", SMALLEST)
    read_attributes(written("attributes.csv", content), pictures, ("Male", "Smiling"))


def config(content: bytes) -> None:
    """The file of `train --config`."""
    from img2img.training.config import RunConfig
    from img2img.training.settings import layered, read_file

    values = read_file(written("config.yaml", content))
    RunConfig.build(layered(values, {}, {}, {}))


def run_config(content: bytes) -> None:
    """The config.json of a run."""
    from img2img.training.config import RunConfig

    RunConfig.load(written("run/config.json", content).parent)


def record(content: bytes) -> None:
    """The record of a folder of translations: nothing in it is an error."""
    from img2img.infer.plan import Job
    from img2img.infer.record import Record

    out = written("out/.img2img/manifest.jsonl", content).parents[1]
    job = Job(str(folder() / "in.png"), str(out / "in.png"))
    Path(job.target).write_bytes(b"1234")
    read = Record(out)
    if read.holds(job, "model", "options") is None:
        read.confirm(job, "model", "options")
    read.is_foreign(job)


def shard(content: bytes) -> None:
    """A tar file of training pictures."""
    from img2img import shards

    path = written("pictures.tar", content)
    for member in shards.pictures(path, PassedOver()):
        assert len(member.read_bytes()) == member.stat().st_size


def zip_file(content: bytes) -> None:
    """A zip of a visitor of the demo."""
    import gradio

    from img2img.app import uploads

    total, path = 0, written("pictures.zip", content)
    try:
        for _, read in uploads.members([path], PassedOver(), values=True):
            with contextlib.suppress(Exception):  # as the demo does, which names the picture
                total += len(read())
    except gradio.Error as error:
        raise DataError(str(error)) from None
    assert total <= uploads.MAX_UNPACKED
