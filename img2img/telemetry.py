"""Disabling the telemetry of libraries before any of them is imported, so that nothing is sent
anywhere. Variables that the user has set are kept.
"""

import os
import sys

SWITCHES = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime: events, with a device id in the user's cache
    "GRADIO_ANALYTICS_ENABLED": "False",  # Gradio: usage, errors, checks for updates
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, a dependency of Gradio
    "NO_ALBUMENTATIONS_UPDATE": "1",  # albumentations: checks for updates
}


def disable() -> None:
    """Set the variables, for this process and its children.

    OpenVINO has no variable, but works without its telemetry package, so that one is hidden.
    """
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
