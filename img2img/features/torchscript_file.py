"""TorchScript files, read so that nothing in them can reach beyond tensors.

A TorchScript file holds programs, which torch runs by an interpreter of its own, some of them while
the file is loaded. Among that interpreter's operators are some that read and write files. So every
name in these programs is checked against the list of operators that networks need, before torch
sees the file, and torch gets a new archive of what was checked.
"""

import ast
import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from img2img.errors import DataError

MEMBER = re.compile(
    r"(data|constants)\.pkl|(data|constants)/\d+|version|byteorder|\.format_version|"
    r"\.storage_alignment|\.data/(serialization_id|version)|code/[\w/]+\.py"
)
IGNORED = re.compile(r".*\.debug_pkl|extra/.*|traced_inputs.*")  # of no use here
# Operators on tensors, numbers and lists, none of which has an effect beyond its result.
NAMES = """
    abs adaptive_avg_pool2d adaptive_max_pool2d add add_ addmm amax append avg_pool2d batch_norm bmm
    cat ceil chunk clamp clamp_ clamp_min clone constant_pad_nd contiguous conv2d _convolution
    detach device dim div div_ dropout dropout_ einsum elu elu_ eq exp expand flatten floor
    floor_divide format full ge gelu glu group_norm gt hardsigmoid hardsigmoid_ hardswish hardswish_
    hardtanh hardtanh_ instance_norm item layer_norm le leaky_relu leaky_relu_ len linear list log
    lt matmul max max_pool2d maximum mean min minimum mish mul mul_ ne neg norm ones ones_like pad
    permute pixel_shuffle pixel_unshuffle pow prelu reciprocal reflection_pad2d relu relu6 relu6_
    relu_ repeat replication_pad2d reshape roll rsqrt rsub scaled_dot_product_attention select
    sigmoid sigmoid_ silu silu_ size slice softmax softplus split sqrt square squeeze stack std sub
    sub_ sum tanh tanh_ tensor to transpose unbind unflatten unsqueeze upsample_bicubic2d
    upsample_bilinear2d upsample_nearest2d var view where zeros zeros_like __and__ __contains__
    __derive_index __getitem__ __is__ __isnot__ __not__ __or__ __range_length Bool Float
    FloatImplicit Int IntImplicit ScalarImplicit warn
"""
OPERATORS = frozenset(NAMES.split())
NAMESPACED = frozenset(
    f"ops.prim.{name}" for name in ("NumToTensor", "RaiseException", "min", "max", "data")
)


def load(content: bytes, path: Path) -> nn.Module:
    """The network of a file's content, on the CPU and for inference; path: for messages.

    Raises DataError for a file that is damaged, or whose programs name anything but OPERATORS.
    """
    try:
        members = dict(_members(content, path))
        for name, data in members.items():
            if name.endswith(".py"):
                for operator in _foreign_operators(ast.parse(data.decode())):
                    raise DataError(
                        f"{path} is not loaded: its program calls {operator}, which is not in the "
                        "list of operators that networks need. Export the model to ONNX instead."
                    )
    except (zipfile.BadZipFile, SyntaxError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a valid TorchScript file ({error}).") from None
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as target:
        for name, data in members.items():
            target.writestr(f"archive/{name}", data)
    archive.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch recommends torch.export
            module: nn.Module = torch.jit.load(archive, map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:  # RuntimeError and others, by version
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise DataError(f"{path} can't be loaded by torch: {reason}") from None
    return module.eval()


def _members(content: bytes, path: Path) -> Iterator[tuple[str, bytes]]:
    """The parts of the archive by their names without its folder. Raises DataError for others than
    TorchScript's, and for a class of torch's that is not written in TorchScript.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        if len(set(names)) < len(names):
            raise DataError(f"{path} is not loaded: it has two parts of one name.")
        for name in names:
            inner = name.partition("/")[2]
            if IGNORED.fullmatch(inner):
                continue
            data = archive.read(name)
            native = inner.endswith(".pkl") and b"torch.classes" in data
            if native or not MEMBER.fullmatch(inner):
                raise DataError(f"{path} is not loaded: networks in TorchScript have no {name}.")
            yield inner, data


def _foreign_operators(program: ast.Module) -> Iterator[str]:
    """What in a program may call anything but OPERATORS."""
    attributes = [node for node in ast.walk(program) if isinstance(node, ast.Attribute)]
    owners = {id(node.value) for node in attributes}
    for node in attributes:
        dotted = ast.unparse(node)
        match dotted.partition(".")[0]:
            case "torch":
                foreign = dotted.removeprefix("torch.") not in OPERATORS
            case "ops":
                foreign = dotted != "ops.prim" and dotted not in NAMESPACED
            case _:
                foreign = ".torch.classes" in dotted or _is_other_operator(node.attr)
        if foreign:
            yield dotted
    for part in ast.walk(program):
        if isinstance(part, ast.Name) and part.id in ("torch", "ops") and id(part) not in owners:
            yield part.id  # as a value, whose operators would have another name
        elif isinstance(part, ast.Call) and ast.unparse(part.func) == "getattr":
            name = part.args[1] if len(part.args) > 1 else None
            if not isinstance(name, ast.Constant) or _is_other_operator(str(name.value)):
                yield ast.unparse(part)


def _is_other_operator(name: str) -> bool:
    """Whether a method or a field of that name may be one of torch's operators, but none of
    OPERATORS.
    """
    return name not in OPERATORS and any(
        torch._C._jit_get_schemas_for_operator(f"{space}::{name}") for space in ("aten", "prim")
    )
