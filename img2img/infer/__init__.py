"""Running exported models: numpy and onnxruntime, never torch."""
