"""A session on a GPU whose pictures come and go through pinned memory."""

import math

import numpy as np
import onnxruntime as ort

from img2img.infer import nvidia

LARGEST = 2**26  # bytes of a buffer; larger pictures take so long that their copy does not matter


class BoundSession:
    """An onnxruntime session of a bundle on CUDA. Several threads may run one: each call takes
    buffers that no other uses, so that one batch is copied while another is computed.

    A CUDA graph (`enable_cuda_graph`) is not captured. It would fix the size, the buffers on the
    GPU and the order of calls, so that neither other sizes nor two calls at a time could run.
    """

    def __init__(self, session: ort.InferenceSession):
        self._session = session
        [output] = session.get_outputs()
        self._output, self._channels = output.name, int(output.shape[-1])
        self._free: list[_Buffers] = []  # as many as calls have run at the same time

    def run(self, outputs: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The picture that the graph gives, uint8 [N, H, W, C']."""
        try:
            buffers = self._free.pop()
        except IndexError:
            buffers = _Buffers()
        binding = self._session.io_binding()
        image = feed["image"]
        binding.bind_cpu_input("image", buffers.sent.holding(image))
        for name, value in feed.items():
            if name != "image":
                binding.bind_cpu_input(name, value)
        result = buffers.received.shaped((*image.shape[:3], self._channels))
        binding.bind_ortvalue_output(self._output, ort.OrtValue.ortvalue_from_numpy(result))
        self._session.run_with_iobinding(binding)
        copied = result.copy()  # the buffer is for the next call
        self._free.append(buffers)
        return [copied]


class _Buffers:
    """Those of one call at a time."""

    def __init__(self) -> None:
        self.sent, self.received = _Buffer(), _Buffer()


class _Buffer:
    """Pinned memory for uint8 arrays, which grows as needed up to LARGEST."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)

    def shaped(self, shape: tuple[int, ...]) -> np.ndarray:
        """An array of this shape in the buffer, with any values."""
        size = math.prod(shape)
        if size > LARGEST:
            return np.empty(shape, np.uint8)
        if size > len(self._memory):
            self._memory = nvidia.pinned(size)
        return self._memory[:size].reshape(shape)

    def holding(self, values: np.ndarray) -> np.ndarray:
        """An array with these values in the buffer; those that are too large, as they are."""
        if values.nbytes > LARGEST:
            return values
        held = self.shaped(values.shape)
        held[...] = values
        return held
