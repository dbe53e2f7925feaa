"""Trying a provider with a convolution, which shows more than that it is installed."""

import base64
from pathlib import Path

import numpy as np

from img2img.errors import DataError, DeviceError
from img2img.infer import session

# An ONNX file (IR 8, opset 13): Conv(x [1, 1, 8, 8], w), w a 3x3 kernel that is 1 in the middle
# alone, with a padding of 1. Its output is its input.
CONVOLUTION = base64.b64decode(
    "CAgSADqaAQoiCgF4CgF3EgF5IgRDb252KhEKBHBhZHNAAUABQAFAAaABBxIFcHJvYmUqMwgBCAEIAwgDEAFC"
    "AXdKJAAAAAAAAAAAAAAAAAAAAAAAAIA/AAAAAAAAAAAAAAAAAAAAAFobCgF4EhYKFAgBEhAKAggBCgIIAQoC"
    "CAgKAggIYhsKAXkSFgoUCAESEAoCCAEKAggBCgIICAoCCAhCBAoAEA0="
)


def failure(provider: str) -> str | None:
    """Why the provider does not work on this machine; None where it does. TensorRT takes seconds,
    and writes into the cache folder.

    Raises UsageError for an unknown provider.
    """
    session.require_known(provider)
    picture = np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8)
    try:
        if provider not in session.available():
            raise session.Unbound(provider, session.lacking(provider))
        opened = session.session_of(CONVOLUTION, Path("probe.onnx"), provider, threads=1)
        [result] = opened.run(None, {"x": picture})
    except session.Unbound as error:
        return error.reason
    except (DataError, DeviceError) as error:
        return str(error)
    except Exception as error:  # onnxruntime has one type per status code
        return session.reason(error)
    return None if np.allclose(result, picture, rtol=0.01) else "it computes wrong results"
