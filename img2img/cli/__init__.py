"""The command line: one file a command, whose heavy imports happen only when it runs."""

import sys

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
from img2img.cli.quickstart import quickstart
from img2img.cli.serve import serve
from img2img.cli.train import train
from img2img.cli.translate import translate

app = typer.Typer(
    name="img2img",
    help="Image-to-image translation with GANs: train on your folders, run the result anywhere.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(quickstart)
app.command()(check)
# Options that it does not declare are settings of the method.
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(train)
app.command()(export)
app.command("import")(import_checkpoint)
for command in (translate, demo, serve, evaluate, compare, bench, info, doctor):
    app.command()(command)


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        from img2img import __version__

        print(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; what a user can mend is one sentence and an exit code."""
    from img2img.errors import Img2ImgError

    try:
        code = app(prog_name="img2img", standalone_mode=False)
        if code == 130:
            raise KeyboardInterrupt
        raise SystemExit(code)
    except typer.TyperException as error:  # wrong usage: typer's sentence, without its box
        if said := error.format_message():  # empty where the help was shown in its place
            print(f"img2img: {said} (--help says more)", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except Img2ImgError as error:
        print(f"img2img: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except (KeyboardInterrupt, typer.Abort):
        print("img2img: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        sys.stderr.close()
        raise SystemExit(1) from None
    except OSError as error:  # a folder that can't be written, a full disk
        print(f"img2img: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        raise SystemExit(1) from None


def stderr_console():
    """For progress and remarks; paths with brackets are no markup."""
    from rich.console import Console

    return Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
