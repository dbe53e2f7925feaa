"""What a user can be told, each kind with its exit code.

A message is one sentence on what is wrong and one on what to do. Everything else that escapes
is a bug and shows its traceback.
"""


class Img2ImgError(Exception):
    """The work failed (exit 1). The base of everything below."""

    exit_code = 1


class UsageError(Img2ImgError):
    """The command or its options do not fit together."""

    exit_code = 2


class DataError(Img2ImgError):
    """A picture, a data set or a model file is missing or not what it should be."""

    exit_code = 3


class DeviceError(Img2ImgError):
    """A device or execution provider that was asked for is not available."""

    exit_code = 4


class PartialFailure(Img2ImgError):
    """Some inputs failed; all the others are done."""

    exit_code = 5


class Interrupted(Img2ImgError):
    """Stopped from outside; what was done so far is saved."""

    exit_code = 130


def needs_extra(extra: str, error: ImportError) -> UsageError:
    """The error for an optional part that is not installed, with the line that installs it."""
    return UsageError(
        f"This command needs {error.name}, which is not installed. "
        f"Install it with: pip install 'img2img[{extra}]'"
    )
