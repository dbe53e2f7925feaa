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
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray: usage
    "BENTOML_DO_NOT_TRACK": "True",  # BentoML, of the example: usage
}
ALSO_OFF = {  # other values, in lower case, that do the same
    "HF_HUB_DISABLE_TELEMETRY": {"on", "yes", "true"},  # Gradio itself sets it to "True"
    "NO_ALBUMENTATIONS_UPDATE": {"true"},
}


def disable() -> None:
    """Set the variables, for this process and its children.

    OpenVINO has no variable, but works without its telemetry package, so that one is hidden.
    """
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def is_off(name: str) -> bool:
    """Whether a variable of SWITCHES turns off the telemetry of its library."""
    value = os.environ.get(name)
    return value == SWITCHES[name] or (value or "").lower() in ALSO_OFF.get(name, ())
