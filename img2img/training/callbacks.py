"""What is called while a run trains: to follow it, or to write it down elsewhere.

A subclass of Callback overrides what it needs and goes to `img2img.train(..., callbacks=[...])`.
Callbacks are called in the first process of a run alone, in their order. What they raise ends the
run like any error: with the last checkpoint as it was saved.
"""

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from img2img.errors import UsageError, needs_extra
from img2img.files import write_whole

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter

    from img2img.training.config import RunConfig
    from img2img.training.examine import Look


class Callback:
    """Does nothing, at every occasion. Steps are counted as the steps that are done."""

    def on_begin(self, run: Path, config: "RunConfig", step: int) -> None:
        """The run begins, or continues after `step` steps. What a killed process wrote about later
        steps is void. run: its folder, of which `img2img.Run(run)` reads the rest.
        """

    def on_step(self, step: int, terms: "dict[str, Tensor]") -> None:
        """A step is done. terms: its weighted terms, "g/l1" or "d/real", as scalars on the device.
        They are not computed yet: to read one (`float(term)`) waits for the device.
        """

    def on_row(self, row: dict[str, float]) -> None:
        """A row of metrics.csv is written: `step`, speed, rates, the mean terms since the last row,
        and what a look measured at that step.
        """

    def on_look(self, step: int, look: "Look") -> None:
        """The run was looked at: `look.row` has what was measured, `look.findings` the diagnosis,
        `look.score` the mean held-out kernel distance (less is better), or None.
        """

    def on_sample(self, step: int, path: Path) -> None:
        """A grid of held-out pictures, translated, is written, as a PNG file."""

    def on_save(self, step: int, path: Path) -> None:
        """The run is saved. path: the generators' weights, a .safetensors file that the next save
        replaces.
        """

    def on_end(self) -> None:
        """Training ends: it is done, was stopped, or failed."""


class TensorBoard(Callback):
    """Writes every number of metrics.csv to RUN/events, for `tensorboard --logdir RUN`."""

    events: "SummaryWriter | None" = None

    def on_begin(self, run: Path, config: "RunConfig", step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.events = SummaryWriter(str(run / "events"), purge_step=step + 1)

    def on_row(self, row: dict[str, float]) -> None:
        assert self.events
        for name, value in _numbers(row).items():
            self.events.add_scalar(name, value, int(row["step"]))

    def on_end(self) -> None:
        if self.events:
            with contextlib.suppress(OSError):  # a full disk, of which the run tells
                self.events.close()


class WandB(Callback):
    """Logs settings, numbers and sample grids to Weights & Biases.

    Where they go is set as for wandb itself: WANDB_PROJECT (here by default img2img), WANDB_MODE
    (offline, for example), WANDB_API_KEY. A run that is resumed goes on in the same run there.
    Raises UsageError where the package wandb is not installed.
    """

    def __init__(self) -> None:
        try:
            import wandb
        except ImportError as error:
            raise needs_extra("wandb", error) from None
        self.wandb: Any = wandb
        self.session: Any = None

    def on_begin(self, run: Path, config: "RunConfig", step: int) -> None:
        identity = _identity(run, "wandb") or secrets.token_hex(8)
        try:
            self.session = self.wandb.init(
                project=os.environ.get("WANDB_PROJECT", "img2img"),
                name=config.name,
                id=identity,
                resume="allow",
                dir=str(run),
                config=config.model_dump(mode="json"),
            )
        except self.wandb.Error as error:
            raise UsageError(
                f"Weights & Biases can't be logged to: {_first_line(error)}. Log in with: wandb "
                "login; or set WANDB_MODE=offline."
            ) from None
        _remember(run, "wandb", identity)

    def on_row(self, row: dict[str, float]) -> None:
        self.session.log(_numbers(row), step=int(row["step"]))

    def on_sample(self, step: int, path: Path) -> None:
        self.session.log({"samples": self.wandb.Image(str(path))}, step=step)

    def on_end(self) -> None:
        if self.session is not None:
            self.session.finish()


class MLflow(Callback):
    """Logs settings, numbers and sample grids to MLflow.

    Where they go is set as for mlflow itself: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME. A run
    that is resumed goes on in the same run there. Raises UsageError where neither mlflow nor
    mlflow-skinny is installed.
    """

    def __init__(self) -> None:
        try:
            import mlflow
        except ImportError as error:
            raise needs_extra("mlflow", error) from None
        self.mlflow: Any = mlflow
        self.began = False

    def on_begin(self, run: Path, config: "RunConfig", step: int) -> None:
        identity = _identity(run, "mlflow")
        try:
            session = self.mlflow.start_run(run_id=identity, run_name=config.name)
        except self.mlflow.exceptions.MlflowException as error:
            raise UsageError(
                f"MLflow can't be logged to: {_first_line(error)}. Set MLFLOW_TRACKING_URI."
            ) from None
        self.began = True
        if identity is None:
            self.mlflow.log_params(_flat(config.model_dump(mode="json")))
            _remember(run, "mlflow", session.info.run_id)

    def on_row(self, row: dict[str, float]) -> None:
        self.mlflow.log_metrics(_numbers(row), step=int(row["step"]))

    def on_sample(self, step: int, path: Path) -> None:
        self.mlflow.log_artifact(str(path), "samples")

    def on_end(self) -> None:
        if self.began:
            self.mlflow.end_run()


LOGGERS: dict[str, type[Callback]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "mlflow": MLflow,
}


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")


def _numbers(row: dict[str, float]) -> dict[str, float]:
    """The columns of a row but for the step, which is the axis."""
    return {name: value for name, value in row.items() if name != "step"}


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names: method.size."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        nested = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return flat


def _identities(run: Path) -> dict[str, str]:
    path = run / "loggers.json"
    identities: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return identities


def _identity(run: Path, logger: str) -> str | None:
    """What the logger calls this run, where it has logged it before."""
    return _identities(run).get(logger)


def _remember(run: Path, logger: str, identity: str) -> None:
    identities = _identities(run) | {logger: identity}
    write_whole(run / "loggers.json", json.dumps(identities, indent=2))
