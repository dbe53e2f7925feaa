"""The curves, samples and findings in a run's folder, read while it trains."""

import contextlib
from pathlib import Path

from img2img.evaluate.diagnose import read_findings
from img2img.files import read_rows

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
