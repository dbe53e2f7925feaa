"""The command line: one file per command, which imports heavy packages only when it runs."""

import re
import sys
import warnings
from typing import TYPE_CHECKING, Any

import typer

from img2img.cli.bench import bench
from img2img.cli.check import check
from img2img.cli.compare import compare
from img2img.cli.demo import demo
from img2img.cli.doctor import doctor
from img2img.cli.evaluate import evaluate
from img2img.cli.export import export
from img2img.cli.import_checkpoint import import_checkpoint
from img2img.cli.info import info
from img2img.cli.models import models
from img2img.cli.quickstart import quickstart
from img2img.cli.serve import serve
from img2img.cli.slices import slices
from img2img.cli.tiles import tiles
from img2img.cli.train import train
from img2img.cli.translate import translate
from img2img.cli.triton import triton

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    name="img2img",
    help="Image-to-image translation with GANs: train on your folders, run the result anywhere.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(quickstart)
app.command()(check)
app.command()(slices)
app.command()(tiles)
# Options that train does not declare are settings of the method.
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(train)
app.command()(export)
app.command("import")(import_checkpoint)
for command in (translate, demo, serve, triton, evaluate, compare, bench, info, doctor):
    app.command()(command)


app.add_typer(models, name="models")


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        from img2img import __version__

        print(__version__)
        raise typer.Exit


# Control characters, those that change the direction of text, and bytes that are not UTF-8.
UNPRINTABLE = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def main() -> None:
    """Run the command line. Errors that a user can correct are one sentence and an exit code."""
    from img2img.errors import CURES, Img2ImgError

    for stream in (sys.stdout, sys.stderr):  # which may be unable to encode the names of files
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    formatted = warnings.formatwarning  # they name files, too
    warnings.formatwarning = lambda *arguments: printable(formatted(*arguments))
    try:
        code = app(prog_name="img2img", standalone_mode=False)
        if code == 130:
            raise KeyboardInterrupt
        raise SystemExit(code)
    except typer.TyperException as error:  # wrong usage: typer's message, without its frame
        if message := error.format_message():  # empty where the help was shown instead
            said = message.replace("Value error, ", "").removesuffix(".")
            print(f"img2img: {printable(said)} (see --help)", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except Img2ImgError as error:
        print(f"img2img: {printable(str(error))}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except (KeyboardInterrupt, typer.Abort):
        print("img2img: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of the output has closed the pipe, as `| head` does
        sys.stderr.close()
        raise SystemExit(1) from None
    except OSError as error:  # a folder that can't be written, a full disk
        where = f"{error.filename}: " if error.filename else ""
        cure = CURES.get(error.errno or 0, "")
        said = f"{where}{error.strerror or error}. {cure}".rstrip()
        print(f"img2img: {printable(said)}", file=sys.stderr)
        raise SystemExit(1) from None


def printable(text: str) -> str:
    """The text with control characters escaped: file names and other people's models may contain
    escape sequences that a terminal would execute.
    """

    def escaped(match: re.Match[str]) -> str:
        code = ord(match[0])
        if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
            code -= 0xDC00
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

    return UNPRINTABLE.sub(escaped, text)


def stderr_console() -> "Console":
    """The console for progress and remarks."""
    return _console(stderr=True)


def stdout_console() -> "Console":
    """The console for tables."""
    return _console(stderr=False)


def _console(stderr: bool) -> "Console":
    """A console that prints text literally: brackets and colons in paths are not markup, and
    control characters are escaped.
    """
    from rich.console import Console
    from rich.text import Text

    class PlainConsole(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printable(text), **options)

    return PlainConsole(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=stderr)
