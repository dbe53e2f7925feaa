"""`img2img translate` from and to a store of the S3 kind, and from web servers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bundles import make_bundle, noise, save  # noqa: F401
from command_line import run
from stores import bucket, gate, site  # noqa: F401

from img2img import remote

ROOT = Path(__file__).parents[2]
NAMES = ["a.png", "sub/b.jpg", "sub/deep/c.webp", "z.png"]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_bundle(Path("m.onnx"))
    monkeypatch.setattr(remote, "WAITS", (0.01, 0.01))


@pytest.fixture
def photos(save, noise) -> dict[str, bytes]:  # noqa: F811
    """Local pictures in photos/, by their names."""
    for number, name in enumerate(NAMES):
        save(Path("photos", name), noise(number, 8 + number, 9))
    return {name: Path("photos", name).read_bytes() for name in NAMES}


@pytest.fixture
def stored(bucket, photos) -> dict[str, bytes]:  # noqa: F811
    """The same pictures in the bucket's photos/."""
    for name, content in photos.items():
        bucket.put(f"photos/{name}", content)
    bucket.requests.clear()
    return photos


def translate(*arguments: str) -> subprocess.CompletedProcess:
    return run("translate", *arguments, "-m", "m.onnx", "--provider", "cpu", "--json")


def counts(done: subprocess.CompletedProcess) -> tuple[int, int, int]:
    summary = json.loads(done.stdout)
    return summary["done"], summary["skipped"], len(summary["failed"])


def files(folder: str) -> dict[str, bytes]:
    paths = [path for path in Path(folder).rglob("*.*") if ".img2img" not in path.parts]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.is_file()
    }


def test_outputs_in_a_store_are_those_of_local_folders_byte_for_byte(bucket, stored):  # noqa: F811
    assert translate("photos", "-o", "local").returncode == 0
    translate(f"{bucket.url}/photos", "-o", f"{bucket.url}/out")
    translate(f"{bucket.url}/photos", "-o", "down")
    translate("photos", "-o", f"{bucket.url}/up/")
    expected = files("local")
    assert expected.keys() == set(NAMES)
    assert {name: bucket.get(f"out/{name}") for name in bucket.keys("out")} == expected
    assert {name: bucket.get(f"up/{name}") for name in bucket.keys("up")} == expected
    assert files("down") == expected
    assert {name: bucket.get(f"photos/{name}") for name in bucket.keys("photos")} == stored


def test_a_second_run_does_only_what_is_new_or_changed(bucket, stored, save, noise):  # noqa: F811
    line = (f"{bucket.url}/photos", "-o", f"{bucket.url}/out")
    assert counts(translate(*line)) == (4, 0, 0)
    bucket.requests.clear()
    assert counts(translate(*line)) == (0, 4, 0)
    read = [path for method, path in bucket.requests if method == "GET" and "/photos/" in path]
    assert read == []  # sizes and versions come with the lists
    save(Path("new.png"), noise(50))
    bucket.put("photos/a.png", Path("new.png").read_bytes())
    bucket.put("photos/new.png", Path("new.png").read_bytes())
    bucket.delete("out/z.png")
    assert counts(translate(*line)) == (3, 2, 0)
    assert bucket.get("out/a.png") == bucket.get("out/new.png")
    assert counts(translate(*line, "--existing", "replace")) == (5, 0, 0)


def test_a_copy_of_the_same_contents_is_not_translated_again(bucket, stored):  # noqa: F811
    translate("photos", "-o", f"{bucket.url}/out")
    assert counts(translate(f"{bucket.url}/photos", "-o", f"{bucket.url}/out")) == (0, 4, 0)


def test_shards_of_a_store_write_into_one_folder(bucket, stored):  # noqa: F811
    for shard in ("1/2", "2/2"):
        line = (f"{bucket.url}/photos", "-o", f"{bucket.url}/out", "--shard", shard)
        assert counts(translate(*line)) == (2, 0, 0)
    assert bucket.keys("out") == set(NAMES)
    assert counts(translate(f"{bucket.url}/photos", "-o", f"{bucket.url}/out")) == (0, 4, 0)


def test_a_killed_job_goes_on_where_it_was(bucket, save, noise):  # noqa: F811
    count = 120
    for number in range(count):
        save(Path("one.png"), noise(number, 8, 8))
        bucket.put(f"photos/{number:03}.png", Path("one.png").read_bytes())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    line = ["translate", f"{bucket.url}/photos", "-o", f"{bucket.url}/out", "-m", "m.onnx"]
    command = [sys.executable, "-m", "img2img", *line, "--provider", "cpu"]
    uploads: list[str] = []

    def kill_at_the_90th_upload(method: str, path: str) -> None:
        if method == "PUT" and path.endswith(".png"):
            uploads.append(path)
            if len(uploads) == 90:
                process.kill()

    bucket.fails = kill_at_the_90th_upload
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        process.wait(120)
    bucket.fails = lambda method, path: None
    there = len(bucket.keys("out"))
    assert 64 < there < count
    done, skipped, failed = counts(translate(*line[1:4]))
    assert (done + skipped, failed) == (count, 0)
    assert 64 <= skipped <= there  # what was recorded is not done again
    assert len(bucket.keys("out")) == count


def test_foreign_objects_are_not_replaced(bucket, stored):  # noqa: F811
    bucket.put("out/a.png", b"mine")
    done = translate(f"{bucket.url}/photos", "-o", f"{bucket.url}/out")
    assert done.returncode == 3
    assert f"{bucket.url}/out/a.png), and were not made by img2img" in done.stderr
    assert bucket.get("out/a.png") == b"mine"
    assert bucket.keys("out") == {"a.png"}


def test_inputs_are_never_replaced(bucket, stored):  # noqa: F811
    done = translate(f"{bucket.url}/photos", "-o", f"{bucket.url}/photos")
    assert done.returncode == 3
    assert "is also the output folder" in done.stderr
    done = translate(f"{bucket.url}/photos/a.png", "-o", f"{bucket.url}/photos")
    assert done.returncode == 3
    assert "would replace its own input" in done.stderr
    assert {name: bucket.get(f"photos/{name}") for name in bucket.keys("photos")} == stored


def test_an_output_folder_below_the_inputs_is_no_input(bucket, stored):  # noqa: F811
    line = (f"{bucket.url}/photos", "-o", f"{bucket.url}/photos/out")
    assert counts(translate(*line)) == (4, 0, 0)
    assert counts(translate(*line)) == (0, 4, 0)


def test_a_store_that_is_busy_is_asked_again(bucket, stored):  # noqa: F811
    failed: set[tuple[str, str]] = set()

    def once(method: str, path: str) -> int | None:
        if (method, path) in failed or "a.png" not in path:
            return None
        failed.add((method, path))
        return 503

    bucket.fails = once
    assert counts(translate(f"{bucket.url}/photos", "-o", f"{bucket.url}/out")) == (4, 0, 0)
    assert {method for method, _ in failed} == {"GET", "PUT"}
    bucket.fails = lambda method, path: None
    assert bucket.keys("out") == set(NAMES)


def test_each_file_that_is_denied_is_named_and_the_others_are_done(bucket, stored):  # noqa: F811
    denied = {("GET", f"/{bucket.name}/photos/a.png"), ("PUT", f"/{bucket.name}/out/z.png")}
    bucket.fails = lambda method, path: 403 if (method, path) in denied else None
    line = (f"{bucket.url}/photos", "-o", f"{bucket.url}/out")
    done = translate(*line)
    assert done.returncode == 5
    reasons = dict(json.loads(done.stdout)["failed"])
    assert reasons.keys() == {f"{bucket.url}/photos/a.png", f"{bucket.url}/photos/z.png"}
    assert all("access is denied" in reason for reason in reasons.values())
    bucket.fails = lambda method, path: None
    assert bucket.keys("out") == {"sub/b.jpg", "sub/deep/c.webp"}
    assert counts(translate(*line)) == (2, 2, 0)


def test_a_record_that_can_not_be_written_stops_the_job_and_loses_nothing(bucket, stored):  # noqa: F811
    bucket.fails = lambda method, path: 403 if method == "PUT" and ".img2img" in path else None
    line = (f"{bucket.url}/photos", "-o", f"{bucket.url}/out")
    done = translate(*line)
    assert done.returncode == 3
    assert f"{bucket.url}/out/.img2img can't be written (access is denied." in done.stderr
    bucket.fails = lambda method, path: None
    assert bucket.keys("out") == set()  # none appears that the record does not know
    assert counts(translate(*line)) == (4, 0, 0)


@pytest.mark.parametrize("way", ["in", "out"])
def test_a_missing_bucket_is_named_before_anything_is_written(bucket, stored, way):  # noqa: F811
    missing = "s3://there-is-none/photos"
    line = (missing, "-o", "out") if way == "in" else ("photos", "-o", missing)
    done = translate(*line)
    assert done.returncode == 3
    assert missing in done.stderr
    assert "there is no such file, folder or bucket" in done.stderr
    assert not Path("out").exists()


def test_denied_lists_and_missing_credentials_are_told(bucket, stored, monkeypatch):  # noqa: F811
    bucket.fails = lambda method, path: 403
    done = translate(f"{bucket.url}/photos", "-o", "out")
    assert done.returncode == 3
    assert "access is denied. Check the credentials" in done.stderr


def test_globs_and_single_objects_are_inputs(bucket, stored):  # noqa: F811
    translate(f"{bucket.url}/photos/**/*.jpg", "-o", "globbed")
    assert set(files("globbed")) == {"sub/b.jpg"}
    translate(f"{bucket.url}/photos/sub/b.jpg", "-o", "one")
    assert set(files("one")) == {"b.jpg"}
    assert counts(translate(f"{bucket.url}/photos/sub/b.jpg", "-o", "named.png")) == (1, 0, 0)
    assert Path("named.png").is_file()


def test_what_is_no_picture_is_passed_over_as_in_a_folder(bucket, stored):  # noqa: F811
    others = {"photos/notes.txt": b"x", "photos/.hidden/a.png": b"x", "photos/folder/": b""}
    for key, content in others.items():
        bucket.put(key, content)
    translate(f"{bucket.url}/photos", "-o", f"{bucket.url}/photos/old")
    done = translate(f"{bucket.url}/photos", "-o", "out")
    assert counts(done) == (4, 0, 0)
    summary = json.loads(done.stdout)
    assert summary["passed_over"] == {".txt": 1}
    assert summary["outputs_passed_over"] == [f"{bucket.url}/photos/old"]


@pytest.mark.parametrize("key", ["../evil.png", "a//b.png", "x/../../evil.png"])
def test_names_that_lead_out_of_the_folder_are_refused(bucket, stored, key):  # noqa: F811
    bucket.put(f"photos/{key}", stored["a.png"])
    assert key in bucket.keys("photos")
    done = translate(f"{bucket.url}/photos", "-o", "out")
    assert done.returncode == 3
    assert "can't be below a folder" in done.stderr
    assert not Path("evil.png").exists()


def test_sizes_are_bounded_before_anything_is_read(bucket, photos, monkeypatch):  # noqa: F811
    monkeypatch.setattr("img2img.images.most_bytes", lambda max_pixels: 1000)
    bucket.put("photos/a.png", photos["a.png"][:1000])
    bucket.put("photos/large.png", b"x" * 1001)
    bucket.requests.clear()
    done = translate(f"{bucket.url}/photos", "-o", "out")
    assert (
        "1,001 bytes are more than"
        in dict(json.loads(done.stdout)["failed"])[f"{bucket.url}/photos/large.png"]
    )
    assert ("GET", f"/{bucket.name}/photos/large.png") not in bucket.requests


def test_every_domain_has_a_folder_and_a_record_in_the_store(bucket, stored):  # noqa: F811
    from img2img.manifest import Labels

    labels = Labels.model_validate({"sets": [{"kind": "classes", "domains": ["x", "y"]}]})
    make_bundle(Path("m.onnx"), labels=labels)
    line = (f"{bucket.url}/photos", "-o", f"{bucket.url}/out", "--to", "all")
    assert counts(translate(*line)) == (8, 0, 0)
    assert bucket.keys("out") == {f"{domain}/{name}" for domain in "xy" for name in NAMES}
    assert counts(translate(*line)) == (0, 8, 0)


def test_a_web_address_and_a_list_of_them_are_inputs(site, photos):  # noqa: F811
    site.files = {f"/pictures/{name}": content for name, content in photos.items()}
    site.files["/pictures/list.txt"] = b"# mine\na.png\n\nsub/b.jpg\n"
    assert counts(translate(f"{site.address}/pictures/z.png", "-o", "z.png")) == (1, 0, 0)
    line = (f"{site.address}/pictures/list.txt", "-o", "out")
    assert counts(translate(*line)) == (2, 0, 0)
    translate("photos", "-o", "local")
    assert files("out") == {name: files("local")[name] for name in ("a.png", "sub/b.jpg")}
    site.asked.clear()
    assert counts(translate(*line)) == (0, 2, 0)
    assert [path for method, path in site.asked if method == "GET"] == ["/pictures/list.txt"]


def test_a_web_server_that_fails_for_a_moment_is_asked_again(site, photos):  # noqa: F811
    site.files = {"/a.png": photos["a.png"]}
    site.fails = lambda method, path: 503 if site.asked.count((method, path)) < 3 else None
    assert counts(translate(f"{site.address}/a.png", "-o", "out")) == (1, 0, 0)


def test_a_web_server_that_fails_is_told_by_its_answer(site, photos):  # noqa: F811
    site.files = {"/list.txt": b"a.png\nb.png\n", "/a.png": photos["a.png"]}
    done = translate(f"{site.address}/list.txt", "-o", "out")
    assert done.returncode == 5
    assert json.loads(done.stdout)["failed"] == [
        [f"{site.address}/b.png", "there is no such file, folder or bucket"]
    ]
    site.fails = lambda method, path: 500
    done = translate(f"{site.address}/a.png", "-o", "out2")
    assert f"{site.address}/a.png: the server answered 500." in done.stderr


def test_a_list_names_only_what_is_below_its_folder(site, photos):  # noqa: F811
    site.files = {"/p/list.txt": b"../a.png\n", "/a.png": photos["a.png"]}
    done = translate(f"{site.address}/p/list.txt", "-o", "out")
    assert done.returncode == 3
    assert "line 1" in done.stderr
    assert ("GET", "/a.png") not in site.asked


def test_a_web_server_without_sizes_is_bounded_while_it_is_read(site, photos, monkeypatch):  # noqa: F811
    monkeypatch.setattr("img2img.images.most_bytes", lambda max_pixels: 1000)
    site.tells_size = False
    site.files = {"/a.png": photos["a.png"] + b"x" * 1000}
    done = translate(f"{site.address}/a.png", "-o", "out")
    assert "are more than" in done.stderr


def test_signatures_and_keys_are_in_no_message_and_no_record(site, bucket, stored):  # noqa: F811
    site.files = {"/a.png": stored["a.png"], "/list.txt": b"a.png?sig=s3cret\nb.png?sig=s3cret\n"}
    done = [
        translate(f"{site.address}/list.txt?sig=s3cret", "-o", f"{bucket.url}/out"),
        translate(f"{site.address}/none.png?sig=s3cret", "-o", "out"),
        translate(f"{site.address}/a.png?sig=s3cret", "-o", "out"),
        translate(f"https://me:s3cret@{site.address.partition('//')[2]}/a.png", "-o", "out"),
        translate("s3://me:s3cret@bucket/photos", "-o", "out"),
    ]
    assert [each.returncode for each in done] == [5, 3, 0, 2, 2]
    assert ("GET", "/a.png?sig=s3cret") in site.asked  # but the server sees it
    written = [each.stdout + each.stderr for each in done]
    written += [content.decode() for content in bucket.record("out")]
    written += [path.read_text() for path in Path("out/.img2img").iterdir()]
    assert not any("s3cret" in text or "a-secret" in text for text in written)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://host/photos", "ftp:// is not supported"),
        ("s3://", "s3:// names no bucket"),
        ("gs://bucket/photos", "pip install 'img2img-gan[gcs]'"),
    ],
)
def test_what_can_not_be_used_is_told_by_name(url, told, monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    for line in ((url, "-o", "out"), ("photos", "-o", url)):
        done = translate(*line)
        assert done.returncode == 2
        assert told in done.stderr


def test_a_file_or_a_web_server_is_no_output(bucket, stored):  # noqa: F811
    done = translate("photos/a.png", "-o", f"{bucket.url}/a.png")
    assert (done.returncode, "names a file" in done.stderr) == (2, True)
    done = translate("photos", "-o", "https://host/out")
    assert (done.returncode, "only read" in done.stderr) == (2, True)


@pytest.mark.skipif(os.name == "nt", reason="names that Windows refuses")
def test_a_local_folder_that_looks_like_a_url_is_local(photos, bucket):  # noqa: F811
    Path("s3:/bucket").mkdir(parents=True)
    Path("photos").rename("s3:/bucket/photos")
    Path("s3:/bucket/out").mkdir()
    bucket.requests.clear()
    assert counts(translate("s3://bucket/photos", "-o", "s3://bucket/out")) == (4, 0, 0)
    assert set(files("s3:/bucket/out")) == set(NAMES)
    assert bucket.requests == []


def test_local_commands_import_nothing_of_it(photos):
    script = (
        "import sys; sys.argv[1:] = ['translate', 'photos', '-o', 'out', '-m', 'm.onnx',"
        " '--provider', 'cpu']\n"
        "from img2img.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code\n"
        "print([name for name in ('fsspec', 's3fs', 'aiohttp') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_memory_holds_as_many_pictures_as_for_local_ones(bucket, save, noise, monkeypatch):  # noqa: F811
    from img2img.infer import folder, pipeline

    for number in range(30):
        save(Path("one.png"), noise(number, 8, 8))
        bucket.put(f"photos/{number:02}.png", Path("one.png").read_bytes())
    monkeypatch.setattr(pipeline, "WAITING", 3 * np.zeros((8, 8, 3), np.uint8).nbytes)
    reading: list[int] = []
    most = 0
    original = remote.read

    def counted(*arguments):
        nonlocal most
        reading.append(1)
        most = max(most, len(reading) - done)
        return original(*arguments)

    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count

    monkeypatch.setattr(remote, "read", counted)
    from img2img.infer.plan import make_plan
    from img2img.infer.record import Record
    from img2img.infer.translator import Translator

    jobs = make_plan([f"{bucket.url}/photos"], Path("out"), "keep", "1/1")
    translator = Translator("m.onnx", "cpu")
    folder.translate_files(
        translator, jobs, Record(Path("out")), pipeline.Settings(), progress=advance
    )
    assert done == 30
    assert most <= 2 * 3 + 2 * folder.usable_cores()
