"""How the demo looks: the tabs, and what happens when something is chosen."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import gradio as gr
from gradio import routes
from gradio.components import Component
from gradio.events import Dependency
from starlette.middleware import Middleware

from img2img import images
from img2img.app.canvas import canvas
from img2img.app.demo import EMPTY, KEPT, Demo
from img2img.app.models import Models
from img2img.app.runs import diagnoses, losses, samples, shown_runs
from img2img.app.uploads import (
    MAX_UNPACKED,
    ChosenAttributes,
    ChosenDomain,
    Guard,
    UploadedFiles,
    UploadedPicture,
)
from img2img.errors import Img2ImgError
from img2img.files import PICTURE_SUFFIXES

MAX_WAITING = 64  # visitors in the queue
MAX_SESSIONS = 200  # pages that Gradio remembers, 0.1 MB each; of older ones only what is on them
FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
# What was drawn is small and shown as large as the canvas.
CSS = "#drawn img { width: 100%; height: 100%; object-fit: contain; }"
ACCEPTED = [*sorted(PICTURE_SUFFIXES), ".zip"]


@contextmanager
def as_message() -> Iterator[None]:
    """What a visitor can mend is shown as a message, and the page lives on."""
    try:
        yield
    except Img2ImgError as error:
        raise gr.Error(str(error), print_exception=False) from None


def told(function: Callable) -> Callable:
    """The function with `as_message`."""

    def call(*arguments):
        with as_message():
            return function(*arguments)

    return call


def told_in_steps(function: Callable) -> Callable:
    """The generator function with `as_message`. Gradio takes the next step only while the visitor
    is there: nobody waits for the work of who has closed the page.
    """

    def call(*arguments):
        with as_message():
            yield from function(*arguments)

    return call


def answered(translate: Callable) -> Callable:
    """Like `told`, but it answers with nothing: what was there before would look like the answer,
    and Gradio forgets a drawing that waits while an older one fails. An answer that comes after
    the question that followed, to a slower model, is not shown.
    """
    asked: dict[str, object] = {}  # by each visitor last, where the answer is awaited

    def call(request: gr.Request, *arguments):
        question = asked[request.session_hash] = object()
        try:
            answer = translate(*arguments)
        except Img2ImgError as error:
            gr.Warning(str(error))
            answer = EMPTY
        finally:
            if last := asked.get(request.session_hash) is question:
                del asked[request.session_hash]
        return answer if last else [gr.skip()] * len(EMPTY)

    return call


def build(demo: Demo, runs: Path) -> gr.Blocks:
    """The page."""
    titles = list(demo.ways)
    with gr.Blocks(
        title="img2img", analytics_enabled=False, delete_cache=(KEPT, KEPT), fill_width=True
    ) as page:
        gr.Markdown("# img2img\nDrop a picture in; it is translated on this machine.")
        with gr.Row():
            title = gr.Dropdown(titles, value=titles[0], label="Model", scale=2)
            way = gr.Radio([("a → b", "ab"), ("b → a", "ba")], value="ab", label="Direction")
            domain = ChosenDomain([], label="Domain")
            several = ChosenAttributes([], label="Attributes")
        chosen = [title, way, domain, several]
        choices = told(partial(_choices, demo)), chosen, [way, domain, several]
        loaded = page.load(*choices)
        # A picture is led to a class, or to attributes: what was touched last counts.
        cleared = domain.input(list, None, several, trigger_mode="always_last")
        beside = told(partial(_beside, demo))
        several.input(beside, chosen, domain, trigger_mode="always_last")
        # What is translated to depends on them: it comes after. A listener of the same event would
        # not do: "always_last" fires the whole event again, which would undo a click meanwhile.
        after = [title.change(*choices), cleared]
        with gr.Tab("One picture"):
            _one(demo, chosen, loaded, after)
        with gr.Tab("Draw"):
            _draw(demo, chosen, after)
        with gr.Tab("Many"):
            _many(demo, chosen)
        with gr.Tab("Runs"):
            _runs(runs, page)
    return page


def _choices(demo: Demo, title: str, way: str, domain: str | None, several: list[str]):
    """Which of direction, domain and attributes the model has, and of what was chosen."""
    choice = demo.choose(title, way, domain, several)
    labels = choice.translator.manifest.labels
    classes, attributes = labels.of_kind("classes"), labels.of_kind("attributes")
    one = choice.to if isinstance(choice.to, str) else None
    ticked = [] if one else choice.to or attributes[:1]
    # What is chosen already is not set again: the visitor may have chosen another one meanwhile.
    class_left = gr.update(visible=bool(classes), choices=classes)
    attributes_left = gr.update(visible=bool(attributes), choices=attributes)
    return (
        gr.update(visible=len(demo.ways[title]) > 1, value=way),
        class_left if one == domain else {**class_left, "value": one},
        attributes_left if ticked == several else {**attributes_left, "value": ticked},
    )


def _beside(demo: Demo, title: str, way: str, domain: str | None, several: list[str]) -> str | None:
    """The class that counts beside those attributes: none where any is ticked."""
    to = demo.choose(title, way, domain, several).to
    return to if isinstance(to, str) else None


def _one(demo: Demo, chosen: list, loaded: Dependency, after: list[Dependency]) -> None:
    title, way, _, several = chosen
    with gr.Row():
        with gr.Column():
            picture = UploadedPicture(
                type="filepath",
                format="png",
                sources=["upload", "webcam", "clipboard"],
                label="Your picture",
                elem_id="picture",
            )
            examples = {
                name: _examples(found, picture)
                for name in demo.models.names
                if (found := demo.models.examples(name))
            }
        with gr.Column():
            slider = gr.ImageSlider(
                type="numpy", format="png", label="Before and after", elem_id="slider"
            )
            timing = gr.Markdown(elem_id="timing")
            with gr.Row():
                download = gr.DownloadButton("Download PNG", visible=False, elem_id="download")
                everywhere = gr.Button("All domains", visible=False)
            gallery = gr.Gallery(label="All domains", format="png", visible=False, columns=2)
        card = gr.Markdown(elem_id="card")

    def describe(*given):
        try:
            choice = demo.choose(*given)
        except Img2ImgError:  # which _choices tells
            return "", *[gr.update(visible=False)] * (1 + len(examples))
        several_domains = len(choice.translator.manifest.labels.names) > 1
        shown = [gr.update(visible=example == choice.name) for example in examples]
        return demo.card(choice), gr.update(visible=several_domains), *shown

    described = [card, everywhere, *examples.values()]
    opened = [loaded.then, *(done.then for done in after), way.input, several.input]
    for event in opened:
        event(describe, chosen, described, trigger_mode="always_last")
    asked = everywhere.click(told_in_steps(demo.everywhere), [picture, title, way], gallery)
    asked.success(lambda: gr.update(visible=True), None, gallery)
    other = [title.change, way.input, picture.change]
    gr.on(other, None, cancels=[asked])
    gr.on(other, lambda: gr.update(visible=False), None, gallery)
    outputs = [slider, download, timing]
    _translate(demo.translate, picture, picture.change, chosen, after, outputs)


def _examples(found: list[Path], picture: UploadedPicture) -> gr.Row:
    """Pictures to click; gr.Examples would call without the queue."""
    shown = [[str(path)] for path in found]
    with gr.Row(visible=False) as row:
        dataset = gr.Dataset(components=["image"], samples=shown, type="index", label="Examples")
    dataset.click(lambda index: images.read(found[index]).pixels, dataset, picture)
    return row


def _translate(
    translate: Callable,
    source: Component,
    given: Callable,
    chosen: list,
    after: list[Dependency],
    outputs: list,
) -> None:
    """Translates what `source` holds when it is `given`, something is chosen, or `after` something
    that was chosen has changed the other choices.

    outputs: the picture, its download, what is said.
    """
    _, way, _, several = chosen
    inputs, translate = [source, *chosen], answered(translate)
    given_again = [given, way.input, several.input]
    gr.on(given_again, translate, inputs, outputs, trigger_mode="always_last", api_name="translate")
    for done in after:
        done.then(translate, inputs, outputs, trigger_mode="always_last")
        done.failure(lambda: EMPTY, None, outputs)


def _draw(demo: Demo, chosen: list, after: list[Dependency]) -> None:
    with gr.Row():
        with gr.Column():
            drawing = canvas()
        with gr.Column():
            result = gr.Image(
                type="numpy",
                format="png",
                label="Its translation",
                interactive=False,
                height=512,
                buttons=["fullscreen"],
                elem_id="drawn",
            )
            timing = gr.Markdown()
            download = gr.DownloadButton("Download PNG", visible=False)
    outputs = [result, download, timing]
    _translate(demo.draw, drawing, drawing.input, chosen, after, outputs)


def _many(demo: Demo, chosen: list) -> None:
    files = UploadedFiles(
        file_count="multiple",
        file_types=ACCEPTED,
        type="filepath",
        label="Pictures, or a zip",
        elem_id="files",
    )
    start = gr.Button("Translate all", variant="primary", interactive=False)
    said = gr.Markdown(elem_id="said")
    zipped = gr.DownloadButton("Download zip", visible=False, elem_id="zip")
    gallery = gr.Gallery(label="Results", format="png", columns=6)

    # Their names are on the page while they are still on their way.
    files.change(lambda paths: gr.update(interactive=bool(paths)), files, start)
    outputs = [gallery, zipped, said]
    start.click(told_in_steps(demo.batch), [files, *chosen], outputs, concurrency_limit=1)


def _runs(folder: Path, page: gr.Blocks) -> None:
    """A live run's curves, its sample grids over time and its diagnoses."""
    names = shown_runs(folder)
    with gr.Row():
        run = gr.Dropdown(names, value=names[0] if names else None, label="Run")
        again = gr.Button("Look again")
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

    def known(name: str | None) -> Path | None:
        """A run of the list, never a path."""
        return folder / name if name in shown_runs(folder) else None

    def follow(name: str | None):
        """What goes on, without the grid that someone looks at."""
        import pandas

        if not (path := known(name)):
            return None, []
        return pandas.DataFrame(losses(path), columns=["step", "term", "value"]), diagnoses(path)

    def show(name: str | None):
        path = known(name)
        last = len(samples(path)) - 1 if path else -1
        slider = gr.update(visible=last > 0, maximum=max(last, 1), value=max(last, 0))
        rows, found = follow(name)
        return rows, slider, turned(name, last), found

    def turned(name: str | None, number: int):
        path = known(name)
        grids = samples(path) if path else []
        if not 0 <= number < len(grids):
            return None
        return images.read(grids[int(number)]).pixels

    outputs = [curves, step, grid, findings]
    gr.Timer(10).tick(follow, run, [curves, findings])
    for opened in (page.load, run.change):
        opened(show, run, outputs)
    again.click(lambda: gr.update(choices=shown_runs(folder)), None, run).then(show, run, outputs)
    step.input(turned, [run, step], grid, trigger_mode="always_last")


def launch(
    models: Models,
    runs: Path,
    host: str,
    port: int | None,
    share: bool,
    auth: tuple[str, str] | None,
    max_mb: int,
    browser: bool,
) -> None:
    """Serve the page until SIGINT or SIGTERM; visitors' files are deleted then."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    largest = max(MAX_UNPACKED, max_mb * 2**20) + 2**20  # many files are sent at once
    with tempfile.TemporaryDirectory(prefix="img2img-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        routes.DEFAULT_TEMP_DIR = folder  # which Gradio read when it was imported
        results = Path(folder) / "results"
        results.mkdir()
        page = build(Demo(models, results), runs)
        page.queue(max_size=MAX_WAITING, default_concurrency_limit=2, api_open=False)
        page.launch(
            server_name=host,
            server_port=port,
            share=share,
            auth=auth,
            max_file_size=max_mb * 2**20,
            state_session_capacity=MAX_SESSIONS,
            inbrowser=browser,
            show_error=True,
            ssr_mode=False,
            enable_monitoring=False,
            run_history=False,
            theme=gr.themes.Soft(**FONTS),
            css=CSS,
            footer_links=[],
            app_kwargs={"middleware": [Middleware(Guard, max_upload=largest)]},
        )
