"""Who may import whom, as the design says; and what never imports torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "img2img"
FACE = {"", "box", "checksum", "errors", "false_colors", "files", "images", "intensity", "locks"}
FACE |= {"manifest", "memory", "ranges", "rasters", "remote", "shards", "show", "sizes", "stored"}
FACE |= {"writing"}
ALLOWED = {
    "features": {"features", *FACE},
    "nets": {"nets", "features", "table", "manifest", "sizes"},
    "methods": {"methods", "nets", "features", "data", "table"}
    | {"errors", "intensity", "manifest", "ranges", "show", "sizes"},
    "data": {"data", "table", *FACE},
    "training": {"training", "methods", "nets", "features", "data", "evaluate", *FACE},
    "export": {"export", "training", "methods", "nets", "data", "infer", *FACE},
    "infer": {"infer", *FACE},
    "evaluate": {"evaluate", "features", "data", "infer", *FACE},
    "app": {"app", "infer", "evaluate", *FACE},
}


def layer(module: str) -> str:
    """img2img.training.loop -> training; img2img -> the empty string."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def known(module: str) -> bool:
    relative = PACKAGE.parent / Path(*module.split("."))
    return relative.with_suffix(".py").exists() or (relative / "__init__.py").exists()


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent.name in ALLOWED]


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_layer_imports_only_what_the_design_allows(path):
    ours = {m for m in imports(path) if m.split(".")[0] == "img2img" and known(m)}
    assert {layer(module) for module in ours} - {""} <= ALLOWED[path.parent.name]


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_methods_use_of_data_only_the_data_set_classes(path):
    if path.parent.name == "methods":
        from_data = {m for m in imports(path) if m.startswith("img2img.data") and known(m)}
        assert from_data <= {"img2img.data", "img2img.data.dataset", "img2img.data.sources"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_nobody_imports_the_command_line(path):
    assert not any(module.startswith("img2img.cli") for module in imports(path))


@pytest.mark.parametrize(
    "statement",
    [
        "import img2img",
        "import img2img.cli",
        "from img2img import Translator, Manifest, Run, Callback, train",
        "import img2img.infer.folder, img2img.infer.plan, img2img.evaluate.metrics",
    ],
)
def test_running_models_imports_no_torch(statement):
    heavy = "('torch', 'onnx', 'cv2', 'albumentations', 'tensorboard')"
    script = f"import sys; {statement}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_help_needs_neither_numpy_nor_pydantic_nor_onnxruntime():
    script = (
        "import sys, img2img.cli; "
        "print([m for m in ('numpy', 'pydantic', 'onnxruntime', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_public_names_are_these():
    import img2img

    public = ["Callback", "Manifest", "Run", "Translator", "__version__", "train"]
    assert sorted(img2img.__all__) == public
    assert all(hasattr(img2img, name) for name in img2img.__all__)
