"""The demo page: its tabs, and what a visitor's choices and uploads start."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import gradio as gr
from gradio import routes
from gradio.components import Component
from gradio.events import Dependency
from starlette.middleware import Middleware

from img2img import images
from img2img.app.access import Access, guards
from img2img.app.canvas import canvas
from img2img.app.demo import EMPTY, KEPT, Demo, Shown, Update
from img2img.app.models import Models
from img2img.app.runs import runs_tab
from img2img.app.uploads import (
    MAX_UNPACKED,
    ChosenAttributes,
    ChosenDomain,
    Guard,
    UploadedFile,
    UploadedFiles,
    UploadedPicture,
)
from img2img.errors import Img2ImgError
from img2img.files import PICTURE_SUFFIXES
from img2img.writing import scratch_folder

T = TypeVar("T")
Listener = Callable[..., Dependency]  # a component's event: called with what it runs

MAX_WAITING = 64  # visitors in the queue
MAX_SESSIONS = 200  # pages whose state Gradio keeps, 0.1 MB each
# The drawing's translation is small, and is shown as large as the canvas.
CSS = "#drawn img { width: 100%; height: 100%; object-fit: contain; }"
ACCEPTED = [*sorted(PICTURE_SUFFIXES), ".zip"]


class Choices(NamedTuple):
    """The components in which a visitor chooses the model and what it translates to."""

    title: gr.Dropdown
    way: gr.Radio
    domain: ChosenDomain
    several: ChosenAttributes


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Show an error that a visitor can correct as a message on the page."""
    try:
        yield
    except Img2ImgError as error:
        raise gr.Error(str(error), print_exception=False) from None


def with_messages(function: Callable[..., T]) -> Callable[..., T]:
    """The function with `errors_as_messages`."""

    def call(*arguments: Any) -> T:
        with errors_as_messages():
            return function(*arguments)

    return call


def steps_with_messages(function: Callable[..., Iterator[T]]) -> Callable[..., Iterator[T]]:
    """The generator function with `errors_as_messages`. Gradio asks for the next step only while
    the visitor's page is open, so that work stops when it is closed.
    """

    def call(*arguments: Any) -> Iterator[T]:
        with errors_as_messages():
            yield from function(*arguments)

    return call


def latest_only(translate: Callable[..., Shown]) -> Callable[..., Shown | list[Update]]:
    """The function for an event that a visitor can fire again before it has answered.

    Only the answer to a visitor's last call is shown; earlier ones, of a slower model perhaps, are
    skipped. An error gives a warning and clears the outputs: an older result would look like the
    answer, and Gradio drops a call that waits while one before it fails.
    """
    last_call: dict[str | None, object] = {}  # by the visitor's session

    def call(request: gr.Request, *arguments: Any) -> Shown | list[Update]:
        this_call = last_call[request.session_hash] = object()
        try:
            answer = translate(*arguments)
        except Img2ImgError as error:
            gr.Warning(str(error))
            answer = EMPTY
        finally:
            if is_last := last_call.get(request.session_hash) is this_call:
                del last_call[request.session_hash]
        return answer if is_last else [gr.skip()] * len(EMPTY)

    return call


def build(demo: Demo, runs: Path) -> gr.Blocks:
    """The page."""
    titles = list(demo.ways)
    page = gr.Blocks(
        title="img2img", analytics_enabled=False, delete_cache=(KEPT, KEPT), fill_width=True
    )
    with page:
        gr.Markdown("# img2img\nDrop a picture in; it is translated on this machine.")
        with gr.Row():
            title = gr.Dropdown(titles, value=titles[0], label="Model", scale=2)
            way = gr.Radio([("a → b", "ab"), ("b → a", "ba")], value="ab", label="Direction")
            domain = ChosenDomain([], label="Domain")
            several = ChosenAttributes([], label="Attributes")
        chosen = Choices(title, way, domain, several)
        choices = with_messages(partial(_choices, demo)), [*chosen], [way, domain, several]
        loaded = page.load(*choices)
        # A picture is translated to a class or to attributes: the last choice counts.
        cleared = domain.input(list, None, several, trigger_mode="always_last")
        beside = with_messages(partial(_beside, demo))
        several.input(beside, [*chosen], domain, trigger_mode="always_last")
        # The translation depends on these choices, so it runs after them. A second listener of the
        # same event would not do: "always_last" fires the whole event again, which would undo a
        # choice that was made in the meantime.
        after = [title.change(*choices), cleared]
        with gr.Tab("One picture"):
            _one(demo, chosen, loaded, after)
        with gr.Tab("Draw"):
            _draw(demo, chosen, after)
        with gr.Tab("Many"):
            _many(demo, chosen)
        with gr.Tab("Runs"):
            runs_tab(runs, page)
    return page


def _choices(
    demo: Demo, title: str, way: str, domain: str | None, several: list[str]
) -> tuple[Update, Update, Update]:
    """The directions, domains and attributes that the model has, with the visitor's choices."""
    choice = demo.choose(title, way, domain, several)
    labels = choice.translator.manifest.labels
    classes, attributes = labels.of_kind("classes"), labels.of_kind("attributes")
    one = choice.to if isinstance(choice.to, str) else None
    ticked = [] if one else choice.to or attributes[:1]
    # A choice is not set again: the visitor may have made another one in the meantime.
    classes_shown = gr.update(visible=bool(classes), choices=classes)
    attributes_shown = gr.update(visible=bool(attributes), choices=attributes)
    return (
        gr.update(visible=len(demo.ways[title]) > 1, value=way),
        classes_shown if one == domain else {**classes_shown, "value": one},
        attributes_shown if ticked == several else {**attributes_shown, "value": ticked},
    )


def _beside(demo: Demo, title: str, way: str, domain: str | None, several: list[str]) -> str | None:
    """The class that is in effect with these attributes: None where any is ticked."""
    to = demo.choose(title, way, domain, several).to
    return to if isinstance(to, str) else None


def _one(demo: Demo, chosen: Choices, loaded: Dependency, after: list[Dependency]) -> None:
    with gr.Row():
        with gr.Column():
            picture = UploadedPicture(
                type="filepath",
                format="png",
                sources=["upload", "webcam", "clipboard"],
                label="Your picture",
                elem_id="picture",
            )
            files = [
                UploadedFile(type="filepath", visible=False, elem_id=f"file-{number + 1}")
                for number in range(demo.models.most_files)
            ]
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
                all_domains = gr.Button("All domains", visible=False)
            gallery = gr.Gallery(label="All domains", format="png", visible=False, columns=2)
        card = gr.Markdown(elem_id="card")

    def describe(
        title: str, way: str | None, domain: str | None, several: list[str]
    ) -> tuple[str | Update, ...]:
        try:
            choice = demo.choose(title, way, domain, several)
        except Img2ImgError:  # _choices shows it
            return "", *[gr.update(visible=False)] * (1 + len(examples)), *sources_of(())
        several_domains = len(choice.manifest.labels.names) > 1
        shown = [gr.update(visible=example == choice.name) for example in examples]
        sources = sources_of(choice.inputs)
        return demo.card(choice), gr.update(visible=several_domains), *shown, *sources

    def sources_of(inputs: Sequence[str]) -> list[Update]:
        """Where the photograph, or the files of values, are dropped in."""
        names = inputs if len(inputs) > 1 else ("Your file",) * len(inputs)
        shown = [gr.update(visible=True, label=name) for name in names]
        hidden = [gr.update(visible=False)] * (len(files) - len(names))
        return [gr.update(visible=not inputs), *shown, *hidden]

    def sent(picture: str | None, *given: Any) -> tuple[Any, ...]:
        """What the chosen model translates, and the choices."""
        paths, choices = given[: len(files)], given[len(files) :]
        takes_values = bool(files) and bool(demo.choose(*choices).inputs)
        return (paths if takes_values else picture), *choices

    described = [card, all_domains, *examples.values(), picture, *files]
    opened: list[Listener] = [loaded.then, *(done.then for done in after)]
    opened += [chosen.way.input, chosen.several.input]
    for event in opened:
        event(describe, [*chosen], described, trigger_mode="always_last")
    grid = all_domains.click(
        steps_with_messages(lambda *given: demo.all_domains(*sent(*given)[:3])),
        [picture, *files, *chosen],
        gallery,
    )
    grid.success(lambda: gr.update(visible=True), None, gallery)
    given = [picture.change, *(file.change for file in files)]
    other = [chosen.title.change, chosen.way.input, *given]
    gr.on(other, None, cancels=[grid])
    gr.on(other, lambda: gr.update(visible=False), None, gallery)
    outputs = [slider, download, timing]
    _translate(
        lambda *given: demo.translate(*sent(*given)),
        [picture, *files],
        given,
        chosen,
        after,
        outputs,
    )


def _examples(paths: list[Path], picture: UploadedPicture) -> gr.Row:
    """Pictures to click on. gr.Examples is not used because it bypasses the queue."""
    shown = [[str(path)] for path in paths]
    row = gr.Row(visible=False)
    with row:
        dataset = gr.Dataset(components=["image"], samples=shown, type="index", label="Examples")
    dataset.click(lambda index: images.read(paths[index]).pixels, dataset, picture)
    return row


def _translate(
    translate: Callable[..., Shown],
    sources: Sequence[Component],
    given: Sequence[Listener],
    chosen: Choices,
    after: list[Dependency],
    outputs: list[Component],
) -> None:
    """Translate the values of `sources` when one is `given`, when a choice is made, and `after` a
    choice has changed the other choices.

    outputs: the picture, its download button, the message.
    """
    inputs, listener = [*sources, *chosen], latest_only(translate)
    triggers = [*given, chosen.way.input, chosen.several.input]
    gr.on(triggers, listener, inputs, outputs, trigger_mode="always_last", api_name="translate")
    for done in after:
        done.then(listener, inputs, outputs, trigger_mode="always_last")
        done.failure(lambda: EMPTY, None, outputs)


def _draw(demo: Demo, chosen: Choices, after: list[Dependency]) -> None:
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
    _translate(demo.draw, [drawing], [drawing.input], chosen, after, outputs)


def _many(demo: Demo, chosen: Choices) -> None:
    files = UploadedFiles(
        file_count="multiple",
        file_types=None if demo.models.most_files else ACCEPTED,  # values have any suffix
        type="filepath",
        label="Pictures, or a zip",
        elem_id="files",
    )
    start = gr.Button("Translate all", variant="primary", interactive=False)
    message = gr.Markdown(elem_id="said")
    zipped = gr.DownloadButton("Download zip", visible=False, elem_id="zip")
    gallery = gr.Gallery(label="Results", format="png", columns=6)

    # The page shows the files' names before they are uploaded.
    files.change(lambda paths: gr.update(interactive=bool(paths)), files, start)
    outputs = [gallery, zipped, message]
    start.click(steps_with_messages(demo.batch), [files, *chosen], outputs, concurrency_limit=1)


def launch(
    models: Models,
    runs: Path,
    access: Access,
    port: int | None,
    root_path: str,
    share: bool,
    auth: tuple[str, str] | None,
    max_mb: int,
    browser: bool,
) -> None:
    """Serve the page until SIGINT or SIGTERM, and then delete the visitors' files.

    root_path: the path at which a proxy offers it.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    largest = max(MAX_UNPACKED, max_mb * 2**20) + 2**20  # one request may carry many files
    with scratch_folder() as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(folder)
        # Gradio reads the variable only when it is imported.
        routes.DEFAULT_TEMP_DIR = str(folder)  # type: ignore[attr-defined]  # not exported
        results = folder / "results"
        results.mkdir()
        page = build(Demo(models, results), runs)
        page.queue(max_size=MAX_WAITING, default_concurrency_limit=2, api_open=False)
        page.launch(
            server_name=access.host,
            server_port=port,
            root_path=root_path or None,
            share=share,
            auth=auth,
            max_file_size=max_mb * 2**20,
            state_session_capacity=MAX_SESSIONS,
            inbrowser=browser,
            show_error=True,
            ssr_mode=False,
            enable_monitoring=False,
            run_history=False,
            theme=gr.themes.Soft(
                font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
            ),
            css=CSS,
            footer_links=[],
            app_kwargs={"middleware": [*guards(access), Middleware(Guard, max_upload=largest)]},
        )
