"""Translating on Ray: in processes of this machine, or on the machines of a cluster.

Ray Data hands parts of the jobs to actors, each with a session of its own, and gives a part to
another actor if one dies. This process alone plans and writes the record. All machines must see the
files at the same paths.
"""

import logging
import os
import pickle
import secrets
import sys
import warnings
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from img2img import __version__
from img2img.errors import DeviceError, Img2ImgError, UsageError, needs_extra
from img2img.files import usable_cores
from img2img.infer import session
from img2img.infer.folder import Begin
from img2img.infer.item import Item
from img2img.infer.pipeline import Settings, translated
from img2img.infer.plan import Job
from img2img.infer.tilers import Tilers
from img2img.infer.translator import Translator
from img2img.infer.workers import workers
from img2img.remote import is_url
from img2img.writing import scratch_folder, temporary_folder

PART = 32  # pictures that an actor gets at a time, at most: what is done again if it dies
PART_ON_GPU = 512  # which takes about as long
PARTS = 8  # for each actor, at least, so that none works long when the others have ended
BEGUN_TOGETHER = 10_000  # outputs that are recorded as begun at a time, to bound memory
AGAIN = 2  # times that a part is given to an actor again, after one has died with it
# A cluster on this machine listens to this machine alone, as Ray does by default on Windows and
# macOS, and to those who know its secret. Its processes have the priority of the command.
ON_THIS_MACHINE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_worker_niceness": "0",
}
# What Ray tells of actors that die is not printed among the command's output.
QUIET = {"RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}
SHORT = 8  # bytes of a folder's name, so that those of Ray's sockets in it have less than 107


class Model(NamedTuple):
    """The file of a translator's model, and its options, for other machines."""

    path: Path
    provider: str
    precision: str
    together: int


class Needs(NamedTuple):
    """What an actor takes of its machine."""

    cpus: int
    gpus: int

    def fit(self, node: dict[str, Any]) -> int:
        """How many actors a machine of Ray's list has room for."""
        have = node["Resources"]
        rooms = [have.get("CPU", 0) // self.cpus]
        rooms += [have.get("GPU", 0) // self.gpus] if self.gpus else []
        return int(min(rooms))


class Actor:
    """A session in a process of Ray, and what reads and writes beside it."""

    def __init__(
        self, model: Model, content: list[Any], settings: Settings, cores: int, version: str
    ):
        """content: the reference to that of the model's file; in a list, because Ray would hand
        over the bytes otherwise. version: of img2img where the command runs.
        """
        self.settings, self.cores = settings, cores
        self.failure: Exception | None = None
        try:
            if version != __version__:
                raise UsageError(
                    f"A machine of the Ray cluster has img2img {__version__}, and this one "
                    f"{version}. Install the same version on all."
                )
            path, provider, precision, together = model
            translator = Translator(
                path, provider, None, cores, together, precision, _ray().get(content[0])
            )
            self.tilers = Tilers(translator, settings.tile, settings.norm_tiles)
            on_cpu = translator.provider in session.ON_CPU
            self.open = ExitStack()  # until the process ends
            self.pool = self.open.enter_context(workers(cores, PART_ON_GPU, on_cpu))
        except Exception as error:  # which Ray would try again
            self.failure = error

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """row: a part of the `jobs`, pickled. Returns their items, with the provider and precision
        that translated them, or the error that ends the work, pickled.
        """
        return {"answer": pickle.dumps(self.failure or self._answer(pickle.loads(row["jobs"])))}  # noqa: S301, of the command

    def _answer(self, jobs: list[Job]) -> tuple[list[Item], str, str] | Exception:
        try:
            items = translated(
                self.tilers, jobs, self.settings, self.pool, self.cores, lambda *steps: None
            )
            translator = self.tilers.translator
            return list(items), translator.provider, translator.precision
        except BrokenExecutor:
            os._exit(1)  # the pool can't be used again; another actor takes its place
        except Exception as error:
            return error


class OnRay:
    """An engine of `translate_files`."""

    def __init__(self, model: Model, needs: Needs, actors: int):
        """actors: how many there are at most."""
        self._computed: set[tuple[str, str]] = set()  # provider and precision
        self._model, self._needs, self._actors = model, needs, actors
        self._content = [_ray().put(session.read(model.path))]

    @property
    def computed(self) -> dict[str, str]:
        """The `provider` and the `precision` of the actors; empty if they had nothing to do."""
        if not self._computed:
            return {}
        providers, precisions = map(dict.fromkeys, zip(*sorted(self._computed), strict=True))
        return {"provider": " and ".join(providers), "precision": " and ".join(precisions)}

    def translated(self, jobs: Sequence[Job], settings: Settings, begin: Begin) -> Generator[Item]:
        """The items of all jobs, in the order in which they are finished. All are begun at once.

        A part whose actors die goes on picture by picture, so that only those fail that end them.
        An actor has no other part in its queue then, which would be lost with it.
        """
        for start in range(0, len(jobs), BEGUN_TOGETHER):
            begin(jobs[start : start + BEGUN_TOGETHER])
        left = {_absolute(job).target: job for job in jobs}
        most = PART_ON_GPU if self._needs.gpus else PART
        for size, queue in ((max(1, min(most, len(jobs) // (self._actors * PARTS))), 2), (1, 1)):
            for item in self._run([*left.values()], size, queue, settings) if left else ():
                if job := left.pop(item.job.target, None):  # Ray may repeat what it has lost
                    yield replace(item, job=job)
                if item.error and settings.fail_fast:
                    return
        reason = "it ended each process that translated it, most likely because memory ran out"
        for job in left.values():
            yield Item(job, error=reason)

    def _run(self, jobs: list[Job], size: int, queue: int, settings: Settings) -> Iterator[Item]:
        """The items of the jobs in parts of a size, without those whose actors died. queue: parts
        that an actor has at the same time.
        """
        import ray.data

        parts = [jobs[start : start + size] for start in range(0, len(jobs), size)]
        rows = [{"jobs": pickle.dumps([_absolute(job) for job in part])} for part in parts]
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = -1  # the parts of actors that died
        most, cpus = min(self._actors, len(rows)), self._needs.cpus
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            answers = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
                Actor,
                fn_constructor_args=(self._model, self._content, settings, cpus, __version__),
                compute=ray.data.ActorPoolStrategy(
                    min_size=1,
                    max_size=most,
                    initial_size=most,
                    max_tasks_in_flight_per_actor=queue,
                ),
                num_cpus=cpus,
                num_gpus=self._needs.gpus,
                max_restarts=-1,
                max_task_retries=AGAIN,
            )
        try:
            for row in answers.iter_rows():
                answer = pickle.loads(row["answer"])  # noqa: S301, of an actor
                if isinstance(answer, Exception):
                    raise answer
                items, provider, precision = answer
                self._computed.add((provider, precision))
                yield from items
        except ray.exceptions.RayError as error:
            raise Img2ImgError(
                f"Ray has failed ({session.reason(error)}). Run the same command to continue."
            ) from None


@contextmanager
def on_ray(
    model: Model, threads: int | None, actors: int | None, address: str | None
) -> Iterator[OnRay]:
    """A context with an engine, which connects to a cluster, or starts one on this machine.

    An actor has a GPU if the model's provider needs one, or if that is "auto" and a machine has
    one. threads: CPUs of an actor; by default one, or with a GPU its share of the machine's.
    actors: at most; by default as many as there is room for. address: of a cluster; by default that
    of the variable RAY_ADDRESS.

    Raises UsageError where Ray is not installed, or no cluster is at the address, and DeviceError
    where no machine has what an actor needs.
    """
    session.require_known(model.provider)
    address = address or os.environ.get("RAY_ADDRESS", "local")
    with _connected(address) as ray:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        needs = _needs(nodes, model.provider, threads)
        room = sum(map(needs.fit, nodes))
        if not room:
            need = f"{needs.cpus} CPU{'s' * (needs.cpus > 1)}{' and a GPU' * needs.gpus}"
            raise DeviceError(
                f"No machine of the Ray cluster has {need}, which an actor needs. "
                "Choose other --threads or another --provider, or start such a machine first."
            )
        yield OnRay(model, needs, actors or room)


def _needs(nodes: list[dict[str, Any]], provider: str, threads: int | None) -> Needs:
    with_gpus = [node["Resources"] for node in nodes if node["Resources"].get("GPU", 0) >= 1]
    if provider not in session.ON_NVIDIA and not (provider == "auto" and with_gpus):
        return Needs(threads or 1, 0)
    shares = [int(have.get("CPU", 0) // have["GPU"]) for have in with_gpus]
    return Needs(threads or max(1, min(shares, default=1)), 1)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """A context with Ray's module, which is connected, and tells nothing by itself."""
    os.environ |= QUIET | os.environ
    local = address == "local"
    if local:
        os.environ.update(ON_THIS_MACHINE | {"RAY_AUTH_TOKEN": secrets.token_hex(32)})
    ray = _ray()
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        options: dict[str, Any] = {}
        if local:
            folder = stack.enter_context(scratch_folder(_short_folder()))
            options = {"num_cpus": usable_cores(), "include_dashboard": False}
            options["_temp_dir"] = str(folder / "r")  # Ray lets others write there; not in `folder`
        stack.callback(ray.shutdown)  # before the folder is deleted
        try:
            with _silent():
                ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **options)
        except Exception as error:  # of several types, and without one
            reason = session.reason(error)
            if local:
                raise Img2ImgError(f"Ray can't start on this machine ({reason}).") from None
            raise UsageError(f"No Ray cluster answers at {address} ({reason}).") from None
        yield ray


@contextmanager
def _silent() -> Iterator[None]:
    """A context in which nothing is printed to stderr: Ray's compiled part tells there that it was
    told to be silent.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _ray() -> Any:
    """The module. Raises UsageError where it is not installed."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise needs_extra("ray", error) from None
    return ray


def _short_folder() -> Path:
    """The folder for temporary files, or /tmp if its name is too long."""
    usual = temporary_folder()
    short = os.name == "nt" or len(os.fsencode(usual)) <= SHORT
    return usual if short else Path("/tmp")  # noqa: S108


def _absolute(job: Job) -> Job:
    """The job for processes with another current folder."""
    files = (job.source, job.target, *job.further)
    source, target, *further = (file if is_url(file) else os.path.abspath(file) for file in files)
    return job._replace(source=source, target=target, further=tuple(further))
