"""How the demo looks: the tabs, and what happens when something is chosen."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import gradio as gr

from img2img import images
from img2img.app.demo import DRAWN, KEPT, SIDE, Demo, own_files, undecoded
from img2img.app.models import Models
from img2img.app.runs import diagnoses, losses, samples, shown_runs
from img2img.errors import Img2ImgError
from img2img.infer.registry import shipped

MAX_WAITING = 64  # visitors in the queue
FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
ACCEPTED = [".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".zip"]


def told(function: Callable) -> Callable:
    """What a visitor can mend is shown as a message, and the page lives on."""

    def call(*arguments):
        try:
            return function(*arguments)
        except Img2ImgError as error:
            raise gr.Error(str(error).split("/")[-1], print_exception=False) from None

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
            domain = gr.Radio([], label="Domain")
            several = gr.CheckboxGroup([], label="Attributes")
        chosen = [title, way, domain, several]
        with gr.Tab("One picture"):
            _one(demo, chosen)
        drawn = [name for name in titles if any(word in name.lower() for word in DRAWN)]
        if drawn:
            with gr.Tab("Draw"):
                _draw(demo, drawn)
        with gr.Tab("Many"):
            _many(demo, chosen)
        with gr.Tab("Runs"):
            _runs(runs)
        shown = partial(_choices, demo)
        page.load(shown, [title], [way, domain, several])
        title.change(shown, [title], [way, domain, several])
    return page


def _choices(demo: Demo, title: str):
    """Which of direction, domain and attributes the model has."""
    ways = demo.ways[title]
    labels = demo.choose(title, None, None, []).translator.manifest.labels
    attributes = [n for s in labels.sets if s.kind == "attributes" for n in s.domains]
    classes = [] if attributes else list(labels.names)
    return (
        gr.update(visible=len(ways) > 1, value="ab"),
        gr.update(visible=bool(classes), choices=classes, value=classes[0] if classes else None),
        gr.update(visible=bool(attributes), choices=attributes, value=[]),
    )


def _one(demo: Demo, chosen: list) -> None:
    title, way, domain, _ = chosen
    with gr.Row():
        with gr.Column():
            picture = undecoded(
                gr.Image(
                    type="filepath",
                    sources=["upload", "webcam", "clipboard"],
                    label="Your picture",
                    elem_id="picture",
                )
            )
            found = sorted((shipped("quickstart") / "test" / "flat").glob("*.png"))[::12]
            if found:
                gr.Examples([str(path) for path in found], picture, cache_examples=False)
        with gr.Column():
            slider = gr.ImageSlider(
                type="numpy", format="png", label="Before and after", elem_id="slider"
            )
            timing = gr.Markdown(elem_id="timing")
            with gr.Row():
                download = gr.DownloadButton("Download PNG", visible=False, elem_id="download")
                everywhere = gr.Button("All domains", visible=False)
            gallery = gr.Gallery(label="All domains", format="png", visible=False, columns=4)
        card = gr.Markdown(elem_id="card")
    outputs = [slider, download, timing]
    translate = told(demo.translate)
    for event in (picture.change, title.change, way.change, domain.change, chosen[3].change):
        event(translate, [picture, *chosen], outputs, trigger_mode="always_last")
    for event in (title.change, way.change):
        event(told(demo.card), [title, way], card)

    def offer(name: str):
        names = demo.choose(name, None, None, []).translator.manifest.labels.names
        return gr.update(visible=len(names) > 1), gr.update(visible=False)

    title.change(offer, [title], [everywhere, gallery])
    everywhere.click(told(demo.everywhere), [picture, title, way], gallery).then(
        lambda: gr.update(visible=True), None, gallery
    )
    gr.on(None, told(demo.card), [title, way], card)  # when the page is opened
    gr.on(None, offer, [title], [everywhere, gallery])


def _draw(demo: Demo, titles: list[str]) -> None:
    with gr.Row():
        model = gr.Dropdown(titles, value=titles[0], label="Model of drawings")
    with gr.Row():
        canvas = undecoded(
            gr.Sketchpad(
                type="numpy",
                canvas_size=(SIDE, SIDE),
                layers=False,
                label="Draw here",
                brush=gr.Brush(default_size=5, colors=["#000000"], color_mode="fixed"),
                elem_id="canvas",
            )
        )
        result = gr.Image(
            type="numpy", format="png", label="Translation", interactive=False, buttons=["download"]
        )
    for event in (canvas.change, model.change):
        event(told(demo.draw), [canvas, model], result, trigger_mode="always_last")


def _many(demo: Demo, chosen: list) -> None:
    files = own_files(
        gr.File(
            file_count="multiple",
            file_types=ACCEPTED,
            type="filepath",
            label="Pictures, or a zip",
            elem_id="files",
        )
    )
    start = gr.Button("Translate all", variant="primary")
    said = gr.Markdown(elem_id="said")
    zipped = gr.DownloadButton("Download zip", visible=False, elem_id="zip")
    gallery = gr.Gallery(label="Results", format="png", columns=6)

    def batch(*arguments, progress=gr.Progress()):  # noqa: B008
        return told(partial(demo.batch, progress=progress))(*arguments)

    start.click(batch, [files, *chosen], [gallery, zipped, said], concurrency_limit=1)


def _runs(folder: Path) -> None:
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

    def show(name: str | None):
        import pandas

        if not (path := known(name)):
            return None, gr.update(visible=False), None, []
        last = len(samples(path)) - 1
        rows = pandas.DataFrame(losses(path), columns=["step", "term", "value"])
        slider = gr.update(visible=last > 0, maximum=max(last, 1), value=max(last, 0))
        return rows, slider, turned(name, last), diagnoses(path)

    def turned(name: str | None, number: int):
        path = known(name)
        grids = samples(path) if path else []
        if not 0 <= number < len(grids):
            return None
        return images.read(grids[int(number)]).pixels

    outputs = [curves, step, grid, findings]
    gr.Timer(10).tick(show, run, outputs)
    run.change(show, run, outputs)
    again.click(lambda: gr.update(choices=shown_runs(folder)), None, run).then(show, run, outputs)
    step.input(turned, [run, step], grid)
    gr.on(None, show, run, outputs)


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
    """Serve the page until it is interrupted."""
    with tempfile.TemporaryDirectory(prefix="img2img-demo-") as folder:
        page = build(Demo(models, Path(folder)), runs)
        page.queue(max_size=MAX_WAITING, default_concurrency_limit=2)
        page.launch(
            server_name=host,
            server_port=port,
            share=share,
            auth=auth,
            max_file_size=max_mb * 2**20,
            inbrowser=browser,
            show_error=True,
            ssr_mode=False,
            enable_monitoring=False,
            theme=gr.themes.Soft(**FONTS),
            footer_links=[],
        )
