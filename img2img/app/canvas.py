"""A canvas to draw on. Gradio's own keeps what anyone sends it as files; this one's is text."""

import base64
from pathlib import Path

import gradio as gr

from img2img.errors import DataError

HERE = Path(__file__).parent
PNG = "data:image/png;base64,"


def canvas() -> gr.HTML:
    """Its value is the drawing as a data address of a PNG, empty without one; `input` tells."""
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
    """The PNG of a canvas's value, which a visitor may have made up. Raises DataError."""
    if not isinstance(value, str) or not value.startswith(PNG):
        raise DataError("This is no drawing of the canvas.")
    try:
        return base64.b64decode(value.removeprefix(PNG), validate=True)
    except ValueError:
        raise DataError("This drawing is damaged.") from None
