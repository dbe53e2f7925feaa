"""Callbacks, which follow a run while it trains, or log it elsewhere.

Derive a class from Callback, override the methods that you need, and pass an instance to
`img2img.train(..., callbacks=[...])`. Callbacks are called in their order, and only in the first
process of a run. An exception in a callback ends the run; the last checkpoint remains valid.
"""

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from img2img.errors import UsageError, needs_extra
from img2img.writing import write_whole

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter

    from img2img.training.config import RunConfig
    from img2img.training.examine import Look


class Callback:
    """The base class, whose methods do nothing. `step` is the number of completed steps."""

    def on_begin(self, run: Path, config: "RunConfig", step: int) -> None:
        """Called when a run starts, or resumes after `step` steps.

        run: its folder; `img2img.Run(run)` gives access to its files. A process that was killed may
        have logged later steps, which will be repeated: discard them.
        """

    def on_step(self, step: int, terms: "dict[str, Tensor]") -> None:
        """Called after each step.

        terms: the weighted loss terms, such as "g/l1" or "d/real", as scalars on the device. They
        may not be computed yet: reading one (`float(term)`) waits for the device.
        """

    def on_row(self, row: dict[str, float]) -> None:
        """Called with each row of metrics.csv: `step`, speed, learning rates, the mean loss terms
        since the previous row, and the results of a look at that step.
        """

    def on_look(self, step: int, look: "Look") -> None:
        """Called after each look, an evaluation on held-out pictures.

        `look.row` has the measured values, `look.findings` the diagnosis, and `look.score` the mean
        held-out kernel distance (lower is better), or None.
        """

    def on_sample(self, step: int, path: Path) -> None:
        """Called when a grid of held-out translations is written, as the PNG file `path`."""

    def on_save(self, step: int, path: Path) -> None:
        """Called when the run is saved. path: the .safetensors file of the generators' weights,
        which the next save replaces.
        """

    def on_end(self) -> None:
        """Called when training ends, whether it is complete, was stopped, or failed."""


class TensorBoard(Callback):
    """Writes all columns of metrics.csv to RUN/events, for `tensorboard --logdir RUN`."""

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
            with contextlib.suppress(OSError):  # a full disk, which the run reports
                self.events.close()


class WandB(Callback):
    """Logs settings, metrics and sample grids to Weights & Biases.

    It is configured by wandb's environment variables: WANDB_PROJECT (by default img2img),
    WANDB_MODE (for example offline), WANDB_API_KEY. Resuming a run continues the same run there.
    Raises UsageError if the package wandb is not installed.
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
                f"Can't log to Weights & Biases: {_first_line(error)}. Log in with: wandb "
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
    """Logs settings, metrics and sample grids to MLflow.

    It is configured by mlflow's environment variables: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME.
    Resuming a run continues the same run there. Raises UsageError if neither mlflow nor
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
                f"Can't log to MLflow: {_first_line(error).strip()}. Set MLFLOW_TRACKING_URI to a "
                "server's address, or to a folder (file:///...) with "
                "MLFLOW_ALLOW_FILE_STORE=true; for a database install all of mlflow, since "
                "mlflow-skinny has none."
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
    """The columns of a row except `step`, which is the x-axis."""
    return {name: value for name, value in row.items() if name != "step"}


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as a flat dict with dotted names, such as method.size."""
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
    """The id under which the logger knows this run; None if it hasn't logged it yet."""
    return _identities(run).get(logger)


def _remember(run: Path, logger: str, identity: str) -> None:
    identities = _identities(run) | {logger: identity}
    write_whole(run / "loggers.json", json.dumps(identities, indent=2))
