"""From a trained run to one ONNX file that takes and gives raw pixels."""
