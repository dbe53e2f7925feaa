"""Training from Python, and what a run's folder holds.

from img2img import Run, train

run = train("cyclegan", a="horses", b="zebras", size=128)
run.export()
Run("runs/cyclegan-horses-zebras").metrics[-1]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from img2img.errors import DataError, UsageError, needs_extra

if TYPE_CHECKING:
    from rich.console import Console

    from img2img.training.callbacks import Callback
    from img2img.training.config import RunConfig

AnyPath = str | Path


class Run:
    """A training run, by its folder. Everything is read when it is asked for, so a run that trains
    meanwhile can be followed. Raises DataError for a folder that is none of a run.
    """

    def __init__(self, path: AnyPath):
        self.path = Path(path)
        if not (self.path / "config.json").exists():
            raise DataError(
                f"{self.path} is not a run: it has no config.json. Give the folder of a run, "
                "runs/NAME."
            )

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def config(self) -> RunConfig:
        """The settings: `config.mode`, `config.method.size.width`. Raises DataError for a
        config.json that can't be used.
        """
        from img2img.training.config import RunConfig

        return RunConfig.load(self.path)

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The rows of metrics.csv, a dict each, with `step` and what was measured by then: terms
        ("g/l1"), rates, speed, and held-out distances in the rows of looks. What a row does not
        have is left out. `pandas.DataFrame(run.metrics)` makes a table of it.
        """
        from img2img.training.log import read_rows

        return [
            {
                name: int(text) if name == "step" else float(text)
                for name, text in row.items()
                if text
            }
            for row in read_rows(self.path)
        ]

    @property
    def samples(self) -> list[Path]:
        """The sample grids of held-out pictures, PNG files in the order of their steps."""
        return sorted((self.path / "samples").glob("step-*.png"))

    @property
    def findings(self) -> list[dict[str, Any]]:
        """What the looks diagnosed, in order: a dict each with `step`, `check`, `way`, `seen`,
        `means`, `advice`, and `pictures`, a path below the run's folder or "".
        """
        from img2img.evaluate.diagnose import read_findings

        return read_findings(self.path)

    @property
    def weights(self) -> Path:
        """The generators' weights of the last save, a .safetensors file (which is there after the
        first save).
        """
        return self.path / "weights.safetensors"

    @property
    def checkpoints(self) -> dict[int, Path]:
        """The weights of past saves that the run keeps (`keep="all"`), by step, the earliest
        first. `export(checkpoint=step)` takes them.
        """
        from img2img.training.keep import kept_checkpoints

        return kept_checkpoints(self.path)

    def export(
        self,
        output: AnyPath | None = None,
        *,
        direction: str | None = None,
        weights: Literal["ema", "plain"] | None = None,
        checkpoint: Literal["best", "last"] | int | None = None,
        precision: Literal["fp32", "fp16", "int8"] = "fp32",
        half_weights: bool = False,
        calibration: AnyPath | None = None,
        opset: int = 20,
        running_statistics: bool = False,
        quiet: bool = False,
    ) -> list[Path]:
        """Write ONNX files that `Translator` and any ONNX runtime can run, as `img2img export`
        does: one for each direction, by default in the run's folder `export`.

        output: the file, where there is one direction; with several its name gets the direction.
        checkpoint: by default the best, by its held-out distance, where one was measured; or a
        step of `checkpoints`. half_weights: store the large weights in fp16 and compute in fp32,
        which halves the file; for fp32 only. calibration: a folder of pictures for int8, where the
        run's own are not here. running_statistics: normalise by BatchNorm's running averages.

        Raises UsageError for what the run does not have, DataError for a run that can't be read,
        Img2ImgError where the exported model differs from torch.
        """
        try:
            from img2img.export.run import export_run
        except ImportError as error:
            raise needs_extra("train", error) from None
        written = export_run(
            self.path,
            _console(quiet),
            output=Path(output) if output else None,
            direction=direction,
            weights=weights,
            opset=opset,
            running_statistics=running_statistics,
            chosen=checkpoint,
            precision=precision,
            calibration=Path(calibration) if calibration else None,
            half_weights=half_weights,
        )
        return [path for path, _ in written]

    def resume(
        self,
        *,
        max_minutes: float | None = None,
        callbacks: Sequence[Callback] = (),
        quiet: bool = False,
        **settings: Any,
    ) -> Run:
        """Train on exactly where the run was stopped. settings: what may change, such as the length
        in all (`epochs=300`), rates, `patience`, `device` or `keep`. The other arguments and the
        errors are those of `train`.
        """
        try:
            from img2img.training import loop
            from img2img.training.folder import require_checkpoint
            from img2img.training.plan import make_plan
            from img2img.training.resume import resumed
        except ImportError as error:
            raise needs_extra("train", error) from None
        config = resumed(self.path, self.config, settings)
        require_checkpoint(self.path)
        console = _console(quiet)
        plan = make_plan(config, console)
        loop.train(plan, self.path, console, max_minutes, callbacks=callbacks)
        return self


def train(
    mode: str,
    *,
    a: AnyPath | Sequence[AnyPath] | None = None,
    b: AnyPath | None = None,
    pairs: AnyPath | None = None,
    data: AnyPath | Sequence[AnyPath] | None = None,
    direction: Literal["ab", "ba"] = "ab",
    attributes: AnyPath | None = None,
    attribute: Sequence[str] = (),
    test_a: AnyPath | Sequence[AnyPath] | None = None,
    test_b: AnyPath | None = None,
    test_pairs: AnyPath | None = None,
    test_data: AnyPath | Sequence[AnyPath] | None = None,
    name: str | None = None,
    out: AnyPath = "runs",
    preset: str = "paper",
    batch: int | Literal["auto"] | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    check: bool = True,
    max_minutes: float | None = None,
    callbacks: Sequence[Callback] = (),
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Train a translator on folders of pictures, as `img2img train` does. Returns the run, of which
    all is in the folder `out`/`name`.

    a, b, pairs, data, attributes, attribute, test_...: the data, as the options of those names;
    several folders as `a` are several inputs.
    direction: "ba" translates from b to a. name: by default made up of the mode and the folders.
    batch: "auto" for as many pictures as fit into memory. epochs or steps: how long. check: decode
    every picture before training. max_minutes: stop after them; `Run.resume` goes on. callbacks:
    see `img2img.training.callbacks`. quiet: print nothing. settings: all others by name, of the
    run (`seed=1`, `precision="fp32"`, `keep="all"`) or of the method (`size=128`, `l1=50`), as
    `img2img train --list-settings --mode MODE` lists them.

    Raises UsageError for a wrong setting, DataError for folders that can't be trained on,
    DeviceError for a device that is not there, Interrupted after SIGINT (Ctrl-C) or SIGTERM with
    everything saved, Img2ImgError where a loss is not finite.
    """
    try:
        from img2img.files import require_utf8
        from img2img.training import loop
        from img2img.training.fit import fit_batch
        from img2img.training.folder import new_folder
        from img2img.training.plan import config_for_data, make_plan
        from img2img.training.ranks import Ranks
        from img2img.training.settings import layered
    except ImportError as error:
        raise needs_extra("train", error) from None
    if direction not in ("ab", "ba"):
        raise UsageError(f"direction {direction!r}: it must be 'ab' or 'ba'.")
    sources = _given(a=_several(a), b=b, pairs=pairs, data=_several(data), attributes=attributes)
    sources |= {"swap": direction == "ba"} | ({"attribute": tuple(attribute)} if attribute else {})
    test = _given(a=_several(test_a), b=test_b, pairs=test_pairs, data=_several(test_data))
    options = _given(mode=mode, preset=preset, name=name, batch=batch, epochs=epochs, steps=steps)
    values, console = layered({}, settings | options, sources, test), _console(quiet)
    config = config_for_data(values, console)
    for folder in (*config.sources.folders(), *config.test.folders()):
        require_utf8(folder)
    path = new_folder(Path(out), config.name, numbered=name is None)
    plan = make_plan(config.model_copy(update={"name": path.name}), console, check)
    if batch == "auto":
        plan = fit_batch(plan, console, Ranks())
    loop.train(plan, path, console, max_minutes, callbacks=callbacks)
    return Run(path)


def _several(folders: AnyPath | Sequence[AnyPath] | None) -> tuple[AnyPath, ...] | None:
    if folders is None:
        return None
    return (folders,) if isinstance(folders, AnyPath) else tuple(folders)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _console(quiet: bool) -> Console:
    """For progress and remarks, on stderr. Text is shown as it is."""
    from rich.console import Console

    return Console(stderr=True, quiet=quiet, markup=False, emoji=False, highlight=False)
