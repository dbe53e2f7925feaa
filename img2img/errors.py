"""The errors that are reported to the user, each with its exit code.

A message is one sentence about the cause and one about what to do. Any other exception is a bug and
shows its traceback.
"""

import errno

FULL, FORBIDDEN = (
    "Free disk space.",
    "Choose a folder that you may write, or change its permissions.",
)
IN_THE_WAY = "A file has the name of a folder: choose another one."
CURES = {  # of errors of writing
    errno.ENOSPC: FULL,
    errno.EFBIG: "Raise the limit of the size of files (ulimit -f).",
    errno.EROFS: "Choose a folder on a disk that can be written.",
    errno.EACCES: FORBIDDEN,
    errno.EPERM: FORBIDDEN,
    errno.ENAMETOOLONG: "Shorten the name.",
    errno.EEXIST: IN_THE_WAY,
    errno.ENOTDIR: IN_THE_WAY,
}
if hasattr(errno, "EDQUOT"):  # Windows has no such quota
    CURES[errno.EDQUOT] = "Delete files of yours on this disk, or ask for a larger quota."
DISTRIBUTION = "img2img-gan"  # on the package index, where img2img is another project


class Img2ImgError(Exception):
    """The work failed. The base class of the errors below."""

    exit_code = 1


class UsageError(Img2ImgError):
    """The command or its options are wrong or contradict each other."""

    exit_code = 2


class DataError(Img2ImgError):
    """A picture, a data set or a model file is missing or invalid."""

    exit_code = 3


class MissingPackage(DataError):
    """A file needs an optional package that is not installed; the message has the command."""


class DeviceError(Img2ImgError):
    """A requested device or execution provider is not available."""

    exit_code = 4


class OutOfMemory(Img2ImgError, MemoryError):
    """The memory, of the machine or of a GPU, is not sufficient."""


class PartialFailure(Img2ImgError):
    """Some inputs failed; all others are done."""

    exit_code = 5


class Interrupted(Img2ImgError):
    """The user or the system stopped the work; everything so far is saved."""

    exit_code = 130


def told(error: OSError) -> str:
    """What the system says about an error of writing, and what to do about it where that is known:
    "(No space left on device). Free disk space."
    """
    cure = CURES.get(error.errno or 0, "")
    return f"({error.strerror or error}). {cure}".rstrip()


def install_command(extra: str) -> str:
    """The command that installs the packages of an extra, also beside an installed checkout."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def needs_extra(extra: str, error: ImportError) -> UsageError:
    """The error for an optional dependency that is not installed, with the install command."""
    return UsageError(
        f"This command needs {error.name}, which is not installed. "
        f"Install it with: {install_command(extra)}"
    )
