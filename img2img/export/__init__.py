"""Exporting a run to one ONNX file, whose input and output are raw pixels."""
