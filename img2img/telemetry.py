"""Nothing is sent anywhere: what libraries report to their makers is switched off before any of
them is imported. A variable that the user has set stays as it is.
"""

import os
import sys

SWITCHES = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime: events, and a device id in the user's cache
    "GRADIO_ANALYTICS_ENABLED": "False",  # Gradio: use, errors, a question for news
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, which Gradio brings
    "NO_ALBUMENTATIONS_UPDATE": "1",  # albumentations: a question for news
}


def disable() -> None:
    """Set the switches, for this process and its children.

    OpenVINO has none, but a stand-in for where its reporting package is not installed.
    """
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
