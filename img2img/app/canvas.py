"""A canvas to draw on. Unlike Gradio's, it sends drawings as text, which is not kept in a file."""

import base64
from pathlib import Path

import gradio as gr

from img2img.errors import DataError

HERE = Path(__file__).parent
PNG = "data:image/png;base64,"


def canvas() -> gr.HTML:
    """The component. Its value is the data URL of a PNG, or empty; it fires `input`."""
    html, css, js = ((HERE / f"canvas.{kind}").read_text() for kind in ("html", "css", "js"))
    return gr.HTML(
        "",
        html_template=html,
        css_template=css,
        js_on_load=js,
        apply_default_css=False,
        elem_id="canvas",
    )


def drawn(value: object) -> bytes:
    """The PNG in a canvas's value. Raises DataError for a value that the canvas did not send."""
    if not isinstance(value, str) or not value.startswith(PNG):
        raise DataError("This is not a drawing of the canvas.")
    try:
        return base64.b64decode(value.removeprefix(PNG), validate=True)
    except ValueError:
        raise DataError("This drawing is damaged.") from None
