"""The package's modules, and which of them a piece of code loads."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "qvsearch"


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def syntax_trees():
    """The syntax tree of each module, by its name."""
    return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


@cache
def nodes(tree):
    """All nodes of a syntax tree; it is walked once for all rules."""
    return list(ast.walk(tree))


def loaded_by(code):
    """The modules that a fresh Python has after running some code."""
    report = "import sys; print('\\n' + ' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {
    *("numpy", "torch", "transformers", "faiss", "PIL", "av", "huggingface_hub", "rich.table"),
    *("cv2", "qwen_vl_utils", "torchvision", "psutil", "pyarrow"),
}
