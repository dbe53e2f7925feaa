"""The tab with the curves, samples and findings in a run's folder, read while it trains."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
import numpy as np

from img2img import images
from img2img.app.demo import Update
from img2img.evaluate.diagnose import read_findings
from img2img.files import read_rows

if TYPE_CHECKING:
    import pandas

POINTS = 400  # of a curve


def shown_runs(folder: Path) -> list[str]:
    """Names of the runs in the folder, the newest first."""
    changed = {}
    for path in folder.glob("*/metrics.csv"):
        with contextlib.suppress(FileNotFoundError):  # deleted in the meantime
            changed[path.parent.name] = path.parent.stat().st_mtime
    return sorted(changed, key=changed.__getitem__, reverse=True)


def losses(run: Path) -> list[dict[str, float | str]]:
    """Rows of step, term and value, thinned out to about POINTS steps."""
    try:
        rows = read_rows(run / "metrics.csv")
    except OSError:
        return []
    rows = [row for row in rows if (row.get("step") or "").isdecimal()]
    rows = rows[:: max(1, len(rows) // POINTS)]
    return [
        {"step": int(row["step"]), "term": name, "value": value}
        for row in rows
        for name, text in row.items()
        if name and name[:2] in ("d/", "g/") and (value := _number(text)) is not None
    ]


def _number(text: str | None) -> float | None:
    """None for an empty cell."""
    try:
        return float(text or "")
    except ValueError:
        return None


def samples(run: Path) -> list[Path]:
    """Grids of held-out pictures, in the order of their steps."""
    return sorted((run / "samples").glob("step-*.png"))


def diagnoses(run: Path) -> list[list[str]]:
    """The latest findings, the newest first: step, check, meaning, advice."""
    try:
        findings = read_findings(run)[-20:]
    except ValueError:  # just being written
        return []
    return [[str(f["step"]), f["check"], f["means"], f["advice"]] for f in reversed(findings)]


def runs_tab(folder: Path, page: gr.Blocks) -> None:
    """A live run's curves, its sample grids over time and its diagnoses."""
    names = shown_runs(folder)
    with gr.Row():
        run = gr.Dropdown(names, value=names[0] if names else None, label="Run")
        refresh = gr.Button("Refresh")
    curves = gr.LinePlot(x="step", y="value", color="term", title="Losses", height=300)
    with gr.Row():
        step = gr.Slider(0, 1, value=0, step=1, label="Sample grid", visible=False)
    grid = gr.Image(
        type="filepath",
        label="Held-out pictures",
        interactive=False,
        format="png",
        buttons=["download", "fullscreen"],
    )
    findings = gr.Dataframe(headers=["step", "what", "what it means", "what to try"], wrap=True)

    def path_of(name: str | None) -> Path | None:
        """A visitor sends names of the list only, never paths."""
        return folder / name if name and name in shown_runs(folder) else None

    def follow(name: str | None) -> tuple["pandas.DataFrame | None", list[list[str]]]:
        """The curves and findings, which are updated without touching the grid."""
        import pandas

        if not (path := path_of(name)):
            return None, []
        return pandas.DataFrame(losses(path), columns=["step", "term", "value"]), diagnoses(path)

    def show(
        name: str | None,
    ) -> tuple["pandas.DataFrame | None", Update, np.ndarray | None, list[list[str]]]:
        path = path_of(name)
        last = len(samples(path)) - 1 if path else -1
        slider = gr.update(visible=last > 0, maximum=max(last, 1), value=max(last, 0))
        rows, latest = follow(name)
        return rows, slider, sample_grid(name, last), latest

    def sample_grid(name: str | None, number: int) -> np.ndarray | None:
        path = path_of(name)
        grids = samples(path) if path else []
        if not 0 <= number < len(grids):
            return None
        return images.read(grids[int(number)]).pixels

    outputs = [curves, step, grid, findings]
    gr.Timer(10).tick(follow, run, [curves, findings])
    for opened in (page.load, run.change):
        opened(show, run, outputs)
    refresh.click(lambda: gr.update(choices=shown_runs(folder)), None, run).then(show, run, outputs)
    step.input(sample_grid, [run, step], grid, trigger_mode="always_last")
