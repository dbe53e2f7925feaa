"""Self-contained HTML: tables, pictures and curves in one file that needs no network."""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from img2img import images
from img2img.evaluate.cases import Case, Translations
from img2img.evaluate.diagnose import read_findings
from img2img.evaluate.measure import Evaluation
from img2img.files import read_rows, spread

STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: .5rem 0 1.5rem }
th, td { padding: .25rem .75rem; text-align: left; border-bottom: 1px solid #8884 }
td.n { text-align: right; font-variant-numeric: tabular-nums }
.wide { overflow-x: auto }
img { image-rendering: auto; width: 128px; display: block; border-radius: 4px; background: #fff }
img.sheet { width: auto; max-width: 18rem }
svg { width: 22rem; max-width: 100%; height: auto } svg text { fill: currentColor; font-size: 11px }
figure { display: inline-block; margin: 0 1rem 1rem 0 } figcaption { font-size: .85rem }
p.small { font-size: .85rem; opacity: .8 }
"""
COLOURS = ("#3b76c4", "#d1662b", "#3d9a50", "#a64ac9", "#b8860b", "#c43b5b")
PIXELS = 256  # of the longer side of pictures on the page
SHOWN = 8  # rows in a table of pictures
POINTS = 300  # of a curve, at most
T = TypeVar("T")


class Sheet(NamedTuple):
    """A contact sheet, shown in its full size."""

    pixels: np.ndarray  # uint8 [H, W, 3]


Curve = tuple[np.ndarray, np.ndarray]  # steps, values


def page(title: str, *sections: str) -> str:
    """sections: HTML, as the functions below make it."""
    head = f"<meta charset=utf-8><meta name=viewport content='width=device-width'><style>{STYLE}"
    body = "\n".join(sections)
    return f"<!doctype html><html lang=en><title>{html.escape(title)}</title>{head}</style>\n" + (
        f"<h1>{html.escape(title)}</h1>\n{body}\n</html>\n"
    )


def heading(text: str) -> str:
    return f"<h2>{html.escape(text)}</h2>"


def paragraph(text: str) -> str:
    return f"<p class=small>{html.escape(text)}</p>"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Cells are text, numbers, or pictures (uint8 [H, W, C])."""
    head = "".join(f"<th>{html.escape(column)}" for column in columns)
    body = "".join("<tr>" + "".join(map(_cell, row)) for row in rows)
    return f"<div class=wide><table><tr>{head}{body}</table></div>"


def curves(title: str, runs: Mapping[str, Curve | None]) -> str:
    """An SVG of one quantity: name -> (steps, values), each smoothed to at most POINTS means."""
    lines = {name: _thinned(*line) for name, line in runs.items() if line and len(line[0]) > 1}
    if not lines:
        return ""
    right = max(x.max() for x, _ in lines.values()) or 1
    low = min(y.min() for _, y in lines.values())
    high = max(y.max() for _, y in lines.values())
    span = (high - low) or 1
    drawn = "".join(
        f"<polyline fill=none stroke='{COLOURS[i % len(COLOURS)]}' stroke-width=1.5 points='"
        + " ".join(
            f"{40 + 300 * x / right:.1f},{130 - 115 * (y - low) / span:.1f}"
            for x, y in zip(*lines[name], strict=True)
        )
        + "'/>"
        for i, name in enumerate(runs)  # the legend counts those without the term, too
        if name in lines
    )
    axes = (
        f"<text x=36 y=18 text-anchor=end>{high:.3g}</text>"
        f"<text x=36 y=132 text-anchor=end>{low:.3g}</text>"
        f"<text x=340 y=145 text-anchor=end>{right:,.0f} steps</text>"
    )
    return (
        f"<figure><svg viewBox='-14 0 364 150' role=img aria-label='{html.escape(title)}'>"
        f"{axes}{drawn}</svg><figcaption>{html.escape(title)}</figcaption></figure>"
    )


def legend(names: Iterable[str]) -> str:
    marks = (
        f"<span style='color:{COLOURS[i % len(COLOURS)]}'>&#9644;</span> {html.escape(name)} "
        for i, name in enumerate(names)
    )
    return f"<p>{' '.join(marks)}</p>"


def metrics_table(results: Mapping[str, Evaluation]) -> str:
    """A column per model and a row per metric with its interval; protocols and gaps below."""
    names = dict.fromkeys(m.name for result in results.values() for m in result.metrics)
    rows = []
    for name in names:
        cells, better = [], ""
        for result in results.values():
            metric = next((m for m in result.metrics if m.name == name), None)
            if metric is None:
                cells.append("-")
                continue
            better = metric.better
            interval = "" if metric.low is None else f" ({metric.low:.4g} to {metric.high:.4g})"
            cells.append(f"{metric.value:.4g}{interval}")
        rows.append([name, *cells, better])
    parts = [table(["metric", *results, "better"], rows)]
    for name, result in results.items():
        protocol = "; ".join(f"{key}: {value}" for key, value in result.protocol.items())
        missing = "; ".join(f"{key} left out: {why}" for key, why in result.left_out.items())
        parts.append(paragraph(f"{name}: {protocol}. {missing}"))
    return "".join(parts)


def evaluation_page(
    title: str, result: Evaluation, translations: Translations, run: Path | None = None
) -> str:
    """The page of an evaluation: metrics, signs of trouble, and a sample, the best and the worst of
    the translations. run: the model's training run, whose curves and findings are shown, too.
    """
    ranked = sorted(result.scores, key=result.scores.__getitem__)
    sections = [heading("Numbers"), metrics_table({"value": result})]
    sections += [heading("Signs of trouble in these pictures"), _findings(result, translations)]
    if any(case.target for case in result.cases.values()):
        sections += [heading("To every domain"), _grid(result, translations)]
    for name, chosen in (
        ("A sample", sample_of(list(result.cases))),
        (f"Best by {result.scored_by}", ranked[:SHOWN]),
        (f"Worst by {result.scored_by}", ranked[::-1][:SHOWN]),
    ):
        sections += [heading(name), _rows(result, translations, chosen)]
    if run:
        sections += [heading("Signs of trouble during training"), diagnosis(run)]
        sections += [curves(name, {run.name: line}) for name, line in read_curves(run).items()]
    return page(title, *sections)


def sample_of(items: Sequence[T]) -> list[T]:
    """The few that a page shows of many, evenly spread over them."""
    return [items[index] for index in spread(SHOWN, len(items))]


def diagnosis(run: Path) -> str:
    """The findings of the checks during training: each check and direction once, with its steps."""
    by_check: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in read_findings(run):
        by_check.setdefault((row["check"], row["way"]), []).append(row)
    if not by_check:
        return paragraph("No sign of trouble.")
    rows = []
    for (check, way), findings in by_check.items():
        last = findings[-1]
        steps = f"{findings[0]['step']:,} to {last['step']:,}, in {len(findings)} looks"
        sheet = run / last["pictures"] if last["pictures"] else None
        shown = Sheet(images.read(sheet).pixels) if sheet and sheet.is_file() else ""
        rows.append(
            [check, way, steps, last["seen"], f"{last['means']} Try {last['advice']}.", shown]
        )
    return table(["check", "way", "steps", "at last", "what it means", "pictures"], rows)


def _findings(result: Evaluation, translations: Translations) -> str:
    if not result.findings:
        return paragraph("None.")
    rows = []
    for finding in result.findings:
        examples = result.examples.get(finding.way, []) if finding.pictures else []
        shown = [translations.look(translations.read(Path(path))) for path in examples]
        sheet = Sheet(images.sheet_of(shown)) if shown else ""
        rows.append(
            [
                finding.check,
                finding.way,
                finding.seen,
                f"{finding.means} Try {finding.advice}.",
                sheet,
            ]
        )
    return table(["check", "way", "seen", "what it means", "pictures"], rows)


def _grid(result: Evaluation, translations: Translations) -> str:
    """A sample of the pictures, each translated to every domain that it lacks."""
    targets: dict[Path, dict[str, Case]] = {}
    for case in result.cases.values():
        targets.setdefault(case.path, {})[case.target] = case
    names = sorted({name for cases in targets.values() for name in cases})
    rows = []
    for path in sample_of(list(targets)):
        cases = targets[path]
        outputs = {name: translations.pictures(case)[1] for name, case in cases.items()}
        row: list[object] = [translations.pictures(next(iter(cases.values())))[0]]
        rows.append(row + [outputs.get(name, "-") for name in names])
    return table(["input", *names], rows)


def _rows(result: Evaluation, translations: Translations, names: Sequence[str]) -> str:
    cases, rows = [result.cases[name] for name in names], []
    truths = any(case.truth for case in cases)
    for case in cases:
        source, output = translations.pictures(case)
        cells: list[object] = [case.name, *([source] if translations.translator else []), output]
        if truths:
            cells.append(translations.look(translations.read(case.truth)) if case.truth else "-")
        rows.append([*cells, result.scores[case.name]])
    columns = ["name", *(["input"] if translations.translator else []), "translation"]
    columns += ["truth"] if truths else []
    return table([*columns, "score"], rows)


def read_curves(run: Path) -> dict[str, Curve]:
    """The losses, held-out distances and other curves in a run's metrics.csv: name -> (steps,
    values).
    """
    rows = read_rows(run / "metrics.csv")
    curves: dict[str, Curve] = {}
    for name in [key for key in (rows[0] if rows else {}) if "/" in key]:
        kept = [(float(row["step"]), float(row[name])) for row in rows if row.get(name)]
        if kept:
            steps, values = zip(*kept, strict=True)
            curves[name] = np.array(steps), np.array(values)
    return curves


def _cell(value: object) -> str:
    if isinstance(value, Sheet):
        return _cell(value.pixels).replace("<img ", "<img class=sheet ")
    if isinstance(value, np.ndarray):
        scale = min(1.0, PIXELS / max(value.shape[:2]))
        height, width = (max(1, round(side * scale)) for side in value.shape[:2])
        small = images.resize(value, width, height) if scale < 1 else value
        content = images.encode(images.Picture(small), ".webp", quality=90)
        encoded = base64.b64encode(content).decode()
        return f"<td><img alt='' src='data:image/webp;base64,{encoded}'>"
    if isinstance(value, float):
        return f"<td class=n>{value:.4g}"
    return f"<td>{html.escape(str(value))}"


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The curve reduced to at most POINTS means of neighboring points."""
    shares = np.array_split(np.arange(len(x)), min(len(x), POINTS))
    return np.array([x[s].mean() for s in shares]), np.array([y[s].mean() for s in shares])
