"""The image, the compose files and the manifests of Kubernetes name what there is.

deploy/prove.sh builds the images and runs them; here nothing needs podman or the network.
"""

import http.server
import os
import re
import runpy
import shutil
import subprocess
import sysconfig
import threading
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from command_line import run
from typer.main import get_command

from hatch_build import FOLDERS
from img2img.app.access import LOCAL
from img2img.app.api import Limits, create_app
from img2img.app.models import Models
from img2img.cli import app
from img2img.infer.plan import parse_shard

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
# Without comments, each instruction on a line.
LINES = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
COPIED = [
    source
    for line in LINES
    if line.startswith("COPY ") and "--from" not in line
    for source in line.split()[1:-1]
]
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
GPU = yaml.safe_load((DEPLOY / "compose.gpu.yaml").read_text())["services"]
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
OBJECTS = {path.stem: list(yaml.safe_load_all(path.read_text())) for path in MANIFESTS}
PODS = {
    name: each["spec"]["template"]["spec"]
    for name, objects in OBJECTS.items()
    for each in objects
    if "template" in each["spec"]
}
CONTAINERS = {name: pod["containers"][0] for name, pod in PODS.items()}

requirements = runpy.run_path(str(DEPLOY / "requirements.py"))["requirements"]
healthcheck = SimpleNamespace(**runpy.run_path(str(DEPLOY / "healthcheck.py")))


def default(command: str, option: str) -> object:
    [value] = [p.default for p in get_command(app).commands[command].params if p.name == option]
    return value


def options_of(container: dict) -> dict[str, str]:
    """The options of the form --name=value; of those that are repeated, the last."""
    return dict(a[2:].split("=", 1) for a in container["args"] if re.match("--[a-z-]+=", a))


# The image


@pytest.mark.parametrize("path", dict.fromkeys(COPIED))
def test_what_the_dockerfile_takes_is_there_and_not_ignored(path):
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"]
    assert (ROOT / path).exists()
    assert any(Path(path).is_relative_to(each) for each in kept)


def test_the_dockerfile_copies_what_the_wheel_is_made_of():
    needed = ["pyproject.toml", "hatch_build.py", "img2img", PROJECT["readme"], *FOLDERS]
    needed += PROJECT["license-files"]
    assert [path for path in needed if path not in COPIED] == []


def test_the_image_has_a_python_that_the_package_names():
    [version] = re.findall(r"^ARG PYTHON=python:(\d\.\d+)-slim-[a-z]+$", DOCKERFILE, re.MULTILINE)
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]


def test_every_target_ends_as_an_ordinary_user():
    targets = re.split(r"^FROM ", "\n".join(LINES), flags=re.MULTILINE)[1:]
    users = {
        re.search(r"AS (\S+)", target)[1]: re.findall(r"^USER (.*)$", target, re.MULTILINE)
        for target in targets
    }
    assert users == {"base": [], "build": [], "runtime": ["1000:1000"], "train": ["1000:1000"]}


def test_the_extras_of_the_image_exist():
    named = [text.split() for text in re.findall(r'^ARG EXTRAS="(.*)"$', DOCKERFILE, re.MULTILINE)]
    named += [SERVICES["demo"]["build"]["args"]["EXTRAS"].split()]
    assert len(named) == 3
    for extras in named:
        assert set(extras) <= PROJECT["optional-dependencies"].keys()


@pytest.mark.parametrize("extras", [["serve"], ["train", "eval"]])
def test_an_image_for_processors_has_nothing_of_cuda(extras):
    rows = requirements("cpu", extras, "https://index.example/whl/cpu")
    assert [row for row in rows if row.startswith("onnxruntime")] == ["onnxruntime>=1.22"]
    assert any("/whl/cpu" in row for row in rows) == ("train" in extras)


def test_an_image_for_gpus_has_the_libraries_of_cuda_from_torch_or_by_themselves():
    [libraries] = PROJECT["optional-dependencies"]["cuda"]
    assert libraries in requirements("cuda", ["serve"])
    assert libraries not in requirements("cuda", ["train"])


def test_all_requirements_of_the_package_and_of_the_extras_are_installed():
    rows = requirements("cuda", ["train", "formats"])
    optional = PROJECT["optional-dependencies"]
    assert rows == [*PROJECT["dependencies"], *optional["train"], *optional["formats"]]


def test_unknown_devices_and_extras_are_refused():
    with pytest.raises(SystemExit, match="no DEVICE rocm"):
        requirements("rocm", [])
    with pytest.raises(SystemExit, match=r"no extra surve.*serve"):
        requirements("cpu", ["surve"])
    with pytest.raises(SystemExit, match="needs TORCH_INDEX"):
        requirements("cpu", ["train"])


def test_both_packages_of_onnxruntime_have_the_same_version():
    pinned = (ROOT / "constraints.txt").read_text()
    assert len(set(re.findall(r"^onnxruntime(?:-gpu)?==(.*)$", pinned, re.MULTILINE))) == 1


# Its health


@pytest.mark.parametrize(
    ("line", "checked"),
    [
        ("tini -- /opt/img2img/bin/img2img serve --host 0.0.0.0", (8000, "/readyz")),
        ("/sbin/docker-init -- tini -- img2img serve --port 9000", (9000, "/readyz")),
        ("tini -- img2img demo --port=9000", (9000, "/")),
        ("tini -- img2img translate serve -o demo -m flat-to-3d", None),
        ("tini -- img2img", None),
        ("sleep 100", None),
    ],
)
def test_the_command_of_the_container_decides_what_is_asked(line, checked):
    assert healthcheck.server(line.split()) == checked


def test_the_ports_that_are_asked_are_those_of_the_commands():
    assert healthcheck.CHECKS["serve"][0] == default("serve", "port")
    [described] = [p.help for p in get_command(app).commands["demo"].params if p.name == "port"]
    assert f" {healthcheck.CHECKS['demo'][0]} " in described


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_health_is_an_answer_of_200(status, healthy):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request).start()
        assert healthcheck.answers(server.server_port, "/readyz") == healthy
    assert not healthcheck.answers(server.server_port, "/readyz")  # nobody listens


# Compose


def test_services_are_built_from_targets_of_the_dockerfile():
    for name, service in SERVICES.items():
        build = service["build"]
        assert (DEPLOY / build["context"] / "Dockerfile").is_file()
        assert f" AS {build['target']}\n" in DOCKERFILE
        assert build["args"]["DEVICE"] == "cpu"
        assert GPU[name]["build"]["args"]["DEVICE"] == "cuda"
        [device] = GPU[name]["deploy"]["resources"]["reservations"]["devices"]
        assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
        assert service["image"] != GPU[name]["image"]


def test_services_have_no_more_rights_than_they_need():
    for service in SERVICES.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert [mount.split(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
    for name in ("serve", "demo"):  # reachable from this machine alone
        [port] = SERVICES[name]["ports"]
        assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", ["serve", "demo"])
def test_the_published_port_is_the_one_that_the_service_listens_to(name):
    [port] = SERVICES[name]["ports"]
    asked = healthcheck.server(["img2img", *SERVICES[name]["command"]])
    assert port.split(":")[-1] == str(asked[0])


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_servers_are_started_with_options_that_they_have(command):
    known = {text for p in get_command(app).commands[command].params for text in p.opts}
    lines = [SERVICES[command]["command"]]
    lines += [CONTAINERS["serve"]["args"]] * (command == "serve")
    for line in lines:
        assert line[0] == command
        assert {word.split("=")[0] for word in line if word.startswith("-")} <= known


@pytest.mark.parametrize("source", ["compose", "kubernetes"])
def test_the_training_accepts_its_options(source, tmp_path):
    for name in ("horses", "zebras"):
        pictures = sorted((ROOT / "examples" / "quickstart" / "train" / "flat").iterdir())[:6]
        (tmp_path / name).mkdir()
        for path in pictures:
            shutil.copy(path, tmp_path / name)
    if source == "compose":
        words = SERVICES["train"]["command"]
    else:
        arguments = CONTAINERS["train"]["args"]
        assert arguments[arguments.index("-m") + 1] == "img2img"
        words = arguments[arguments.index("img2img") + 1 :]
    done = run(*words, "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


# Kubernetes


@pytest.mark.parametrize("name", PODS)
def test_pods_run_as_an_ordinary_user_with_a_read_only_root(name):
    pod, [container] = PODS[name], PODS[name]["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == 1000  # of the Dockerfile
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod["automountServiceAccountToken"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert mounted.keys() == volumes.keys()
    assert mounted["tmp"] == "/tmp"
    assert "emptyDir" in volumes["tmp"]


def test_the_claim_is_the_one_that_the_jobs_use():
    [claim] = OBJECTS["volumes"]
    for name in ("train", "translate"):
        [data] = [each for each in PODS[name]["volumes"] if each["name"] == "data"]
        assert data["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_probes_and_ports_are_those_of_the_server():
    container = CONTAINERS["serve"]
    served = create_app(Models(["flat-to-3d"], "cpu"), Limits(), LOCAL).openapi()["paths"]
    [port] = container["ports"]
    for kind, path in (("startup", "/readyz"), ("readiness", "/readyz"), ("liveness", "/healthz")):
        request = container[f"{kind}Probe"]["httpGet"]
        assert (request["path"], request["port"]) == (path, port["name"])
        assert path in served
    assert options_of(container)["port"] == str(port["containerPort"])
    service, deployment = OBJECTS["serve"]
    [published] = service["spec"]["ports"]
    assert published["targetPort"] == port["name"]
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    name = service["metadata"]["name"]
    assert f"--allow-host={name}" in container["args"]


def test_accepted_requests_can_be_finished():
    pause = CONTAINERS["serve"]["lifecycle"]["preStop"]["sleep"]["seconds"]
    limit = Limits().seconds
    assert PODS["serve"]["terminationGracePeriodSeconds"] > limit + pause
    assert int(SERVICES["serve"]["stop_grace_period"].removesuffix("s")) > limit


def test_the_training_has_a_pod_for_each_machine_of_torchrun():
    [_, job] = OBJECTS["train"]
    spec, options = job["spec"], options_of(CONTAINERS["train"])
    machines, gpus = int(options["nnodes"]), int(options["nproc-per-node"])
    assert spec["completionMode"] == "Indexed"
    assert (spec["completions"], spec["parallelism"]) == (machines, machines)
    assert CONTAINERS["train"]["resources"]["limits"]["nvidia.com/gpu"] == gpus
    assert options["node-rank"] == "$(JOB_COMPLETION_INDEX)"
    assert int(options["batch"]) % (machines * gpus) == 0


def test_the_pods_of_the_training_find_the_first_one():
    service, job = OBJECTS["train"]
    name, options = job["metadata"]["name"], options_of(CONTAINERS["train"])
    # A pod is reached as HOST.SUBDOMAIN, where the subdomain is the name of a headless service.
    assert PODS["train"]["subdomain"] == service["metadata"]["name"]
    assert options["master-addr"] == f"{name}-0.{service['metadata']['name']}"
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": name}  # a label that Kubernetes sets
    assert str(service["spec"]["ports"][0]["port"]) == options["master-port"]


def test_each_pod_of_the_job_translates_a_part_of_its_own(tmp_path):
    [job], container = OBJECTS["translate"], CONTAINERS["translate"]
    spec, [shards] = job["spec"], container["env"]
    assert spec["completionMode"] == "Indexed"
    assert shards == {"name": "SHARDS", "value": str(spec["completions"])}
    printing = tmp_path / "img2img"  # stands in for the command
    printing.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    printing.chmod(0o755)
    parts = []
    for index in range(spec["completions"]):
        [init, end, *words] = [*container["command"], *container["args"]]
        assert (init, end) == ("tini", "--")
        given = {"JOB_COMPLETION_INDEX": str(index), "SHARDS": shards["value"]}
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **given}
        printed = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        *arguments, option, shard = printed.stdout.split()
        assert (arguments, option) == (["translate", *container["args"]], "--shard")
        parts.append(parse_shard(shard))
    assert parts == [(number, len(parts)) for number in range(1, len(parts) + 1)]


def test_the_translation_has_the_options_that_its_job_uses():
    known = {text for p in get_command(app).commands["translate"].params for text in p.opts}
    assert {f"--{name}" for name in options_of(CONTAINERS["translate"])} | {"--shard"} <= known


# Releases


def test_released_images_are_those_of_the_compose_files():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    released = workflow["jobs"]["images"]["strategy"]["matrix"]["include"]
    known = {each["image"]: (each["build"]["target"], "cpu") for each in SERVICES.values()}
    known |= {GPU[name]["image"]: (SERVICES[name]["build"]["target"], "cuda") for name in GPU}
    for row in released:
        assert known[f"img2img:{row['name']}"] == (row["target"], row["device"])
    assert {row["target"] for row in released} == {"runtime", "train"}
    images = {container["image"] for container in CONTAINERS.values()}
    assert images <= {f"img2img:{row['name']}" for row in released}


# Linters


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_the_manifest_follows_the_schemas_of_kubernetes(path):
    schemas = pytest.importorskip("kubernetes_validate")
    for each in OBJECTS[path.stem]:
        schemas.validate(each, schemas.latest_version(), strict=True)


def test_hadolint_has_nothing_to_say_about_the_dockerfile():
    # Of this environment, which need not be active.
    linter = shutil.which("hadolint", path=sysconfig.get_path("scripts"))
    assert linter, "pip install -e '.[dev]'"
    done = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
