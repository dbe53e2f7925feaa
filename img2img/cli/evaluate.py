"""img2img evaluate: the quality of translations, in numbers with their protocol."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from img2img.cli.options import Show, option

if TYPE_CHECKING:
    from img2img.evaluate.measure import Evaluation
    from img2img.infer.translator import Translator

OPPOSITE = {"ab": "ba", "ba": "ab"}


def _domains(text: str) -> Any:
    return typer.Option(help=text, rich_help_panel="Models with domains (StarGAN)")


def _labels(text: str) -> Any:
    return typer.Option(help=text, rich_help_panel="Models from label maps")


def evaluate(
    real: Annotated[Path | None, option("Folder of real pictures.")] = None,
    fake: Annotated[Path | None, option("Folder of translated pictures.")] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Instead of --fake: the model that translates --a."),
    ] = None,
    a: Annotated[
        list[Path] | None,
        option("Folder that the model translates; repeat for a model with several inputs."),
    ] = None,
    b: Annotated[Path | None, option("Folder of real pictures; the same as --real.")] = None,
    direction: Annotated[
        Literal["ab", "ba"] | None, option("For a model with two directions.")
    ] = None,
    to: Annotated[str | None, option("Target domain.")] = None,
    back: Annotated[
        str | None,
        option("Model of the opposite direction, for cycle metrics; found by itself in a run."),
    ] = None,
    metrics: Annotated[str, option("Names with commas. Default: all that apply.")] = "",
    extractor: Annotated[
        Literal[
            "auto", "inception", "efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"
        ],
        option(
            "Network whose features the distances compare. auto: inception where its weights are "
            "present, else an EfficientNet-Lite whose features took no part in training the model."
        ),
    ] = "auto",
    weights: Annotated[Path | None, option("File with Inception's weights.")] = None,
    data: Annotated[
        list[Path] | None,
        _domains("Test pictures, one sub-folder per domain; or a folder that contains test."),
    ] = None,
    train_data: Annotated[
        list[Path] | None,
        _domains("Training pictures for the classifier. Default: halves of --data."),
    ] = None,
    attributes: Annotated[
        Path | None, _domains("Attribute list of the first --data, as CelebA's or CSV.")
    ] = None,
    attribute: Annotated[list[str] | None, _domains("A column of that list; repeatable.")] = None,
    segmenter: Annotated[Path | None, _labels("ONNX model that segments real pictures.")] = None,
    labels: Annotated[
        Path | None, _labels("Folder of label maps with the pictures' names.")
    ] = None,
    segmenter_input: Annotated[
        Literal["imagenet", "unit", "signed", "raw"],
        _labels("Scale of its input: ImageNet's mean and deviation, 0..1, -1..1, or 0..255."),
    ] = "imagenet",
    palette: Annotated[Path | None, _labels("JSON file with the color of each class.")] = None,
    show: Show = None,
    seed: Annotated[int, option("Seed of the bootstrap.")] = 0,
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Resamples for the confidence intervals.")
    ] = 200,
    csv: Annotated[Path | None, option("Also write the numbers to this file.")] = None,
    report: Annotated[
        Path | None, option("Also write an HTML page with pictures to this file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Measure translations against real pictures, and against their ground truth where names match.

    img2img evaluate --real photos --fake out\n
    img2img evaluate -m flat-to-3d --a flat --b 3d\n
    img2img evaluate -m runs/styles --data styles-test
    """
    from img2img.cli import stderr_console
    from img2img.errors import UsageError, needs_extra

    target = real or b
    by_domain = bool(data) and bool(model) and not (real or fake or a or b or to or segmenter)
    by_folder = bool(target) and not (real and b) and bool(fake) != bool(model)
    by_folder = by_folder and bool(model) == bool(a) and not (data or train_data or attributes)
    if not (by_domain or by_folder):
        raise UsageError(
            "Give --real DIR and --fake DIR, or --model M with --a DIR and --b DIR, or, for a "
            "model with domains, --model M with --data DIR."
        )
    if bool(segmenter) != bool(labels) or (palette and not labels):
        raise UsageError(
            "--segmenter FILE needs --labels DIR (and --palette, if the labels are colors)."
        )
    if (back and not model) or (to and not model):
        raise UsageError("--back and --to go with --model.")
    try:
        from img2img.evaluate import features
        from img2img.evaluate.cases import Kinds, Translations
        from img2img.evaluate.report import evaluation_page
        from img2img.evaluate.run import evaluate as measure
        from img2img.evaluate.run import kinds_of_files
        from img2img.evaluate.segmentation import Segmenter
    except ImportError as error:
        raise needs_extra("eval", error) from None
    from img2img.files import pictures
    from img2img.ranges import items_of
    from img2img.writing import write_whole

    wanted = [name.strip() for name in metrics.split(",") if name.strip()]
    console = stderr_console()
    translator, way_back, run = _models(model, direction, back) if model else (None, None, None)
    folder, further = (a[0], a[1:]) if a else (fake, [])
    shown = items_of("--show", show or ())
    if translator:
        kinds = Kinds.of(translator.manifest, shown)
    elif target and _has_values(target):
        kinds = kinds_of_files(pictures(target), shown)
    else:
        kinds = Kinds.of(None, shown)
    if any(kinds):
        way_back = None  # which a run may have
        instead = "Leave it out: values are compared with those of --b, in their units."
        for_photographs = {
            "--back": (back, instead),
            "--data": (data, "Measure one domain at a time: --a DIR --b DIR --to DOMAIN."),
            "--segmenter": (segmenter, instead),
        }
        for name, (given, advice) in for_photographs.items():
            if given:
                raise UsageError(f"{name} is for photographs, and these are values. {advice}")
    translations = Translations(translator, translator if data else way_back, kinds)
    trained = translations.feature_networks.values()
    network = features.extractor(extractor, weights, trained=trained)
    if data and translator:  # by domain
        from img2img.data.sources import Sources
        from img2img.evaluate.domains import evaluate_domains

        listed = {"attributes": attributes, "attribute": tuple(attribute or ())}
        test = Sources(data=tuple(data), **listed)
        train = Sources(data=tuple(train_data), **listed) if train_data else None
        result = evaluate_domains(
            test, translator, network, console, train, wanted, seed, bootstrap
        )
        title = f"{translations.describe('its inputs')}, by domain"
    else:
        assert target is not None  # by_folder
        assert folder is not None
        labelled = (
            Segmenter(segmenter, labels, segmenter_input, palette) if segmenter and labels else None
        )
        result = measure(
            target,
            folder,
            translations,
            network,
            console,
            to,
            wanted,
            seed,
            bootstrap,
            labelled,
            further=further,
        )
        title = f"{translations.describe(folder.name)} against {target.name}"
    if report:
        write_whole(report, evaluation_page(title, result, translations, run))
        console.print(f"see {report}")
    return _output(result, csv, as_json)


def _has_values(real: Path) -> bool:
    """Whether the files of a folder are values, and not photographs, by the first of them."""
    from img2img.data.intensities import is_raster
    from img2img.files import find_pictures

    first = next(find_pictures(real), None) if real.is_dir() else None
    return first is not None and is_raster(first)


def _output(result: "Evaluation", csv: Path | None, as_json: bool) -> None:
    """Write and print the numbers."""
    import json

    if csv:
        _write_csv(csv, result)
    if as_json:
        print(json.dumps(result.as_dict(), indent=2))
    else:
        _show(result)


def _models(
    model: str, direction: str | None, back: str | None
) -> tuple["Translator", "Translator | None", Path | None]:
    """The model, the model of the opposite direction, and the run that it was exported from, where
    these can be found.
    """
    from img2img.infer.registry import find
    from img2img.infer.translator import Translator

    path = find(model, direction).path
    translator, way_back = Translator(path), Translator(back) if back else None
    stem, _, way = path.stem.rpartition("-")
    if not way_back and way in OPPOSITE and way == translator.manifest.direction:
        other = path.with_name(f"{stem}-{OPPOSITE[way]}.onnx")  # as a run of both exports it
        reverse = Translator(other) if other.exists() else None
        if reverse and reverse.manifest.direction == OPPOSITE[way]:
            way_back = reverse
    run = path.parent.parent
    is_run = path.parent.name == "export" and (run / "metrics.csv").exists()
    return translator, way_back, run if is_run else None


def _show(result: "Evaluation") -> None:
    from rich.table import Table

    from img2img.cli import printable, stdout_console

    table = Table("metric", "value", "95 % interval", "better", "pictures")
    for metric in result.metrics:
        interval = "-" if metric.low is None else f"{metric.low:.4g} to {metric.high:.4g}"
        value, count = f"{metric.value:.4g}", f"{metric.pictures:,}"
        table.add_row(metric.name, value, interval, metric.better, count)
    stdout_console().print(table)
    for finding in result.findings:
        print(printable(str(finding)))
    for name, reason in result.left_out.items():
        print(printable(f"left out: {name} ({reason})"))
    print(printable("; ".join(f"{key}: {value}" for key, value in result.protocol.items())))


def _write_csv(path: Path, result: "Evaluation") -> None:
    import csv
    import io

    from img2img.writing import write_whole

    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    names = ("name", "value", "low", "high", "better", "pictures")
    writer.writerow([*names, *result.protocol])
    for metric in result.metrics:
        row = (metric.name, metric.value, metric.low, metric.high, metric.better, metric.pictures)
        writer.writerow([*row, *result.protocol.values()])
    write_whole(path, buffer.getvalue())
