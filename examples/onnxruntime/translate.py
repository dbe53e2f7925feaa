"""python translate.py MODEL.onnx IN OUT   (pip install onnxruntime pillow)"""

import os
import sys

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import, which reports to its maker

import numpy as np
import onnxruntime
from PIL import Image

model, source, target = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
image = np.asarray(Image.open(source).convert("RGB"))[None]  # uint8 [1, H, W, 3], any H and W
[translated] = session.run(["translated"], {"image": image})
Image.fromarray(translated[0]).save(target)
