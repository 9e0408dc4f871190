"""The published evaluation of MMEB-V2 runs with our classes, as docs/evaluation.md puts them there.

QVSEARCH_UPSTREAM=~/Qwen3-VL-Embedding pytest -m mteb tests/tasks/test_mmeb.py
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import published_evaluation

UPSTREAM = os.environ.get("QVSEARCH_UPSTREAM")
PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text("utf-8")
SETS = ("image", "video", "page")

pytestmark = [
    pytest.mark.mteb,
    pytest.mark.skipif(UPSTREAM is None, reason="QVSEARCH_UPSTREAM names no checkout"),
]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """The folder of the results, by the embedder and then by the reranker."""
    folder = tmp_path_factory.mktemp("published")
    shutil.copytree(Path(UPSTREAM) / "src", folder / "src")
    lines = re.findall(r'^\$ (echo "from qvsearch.compat .*)$', PAGE, re.M)
    assert len(lines) == 2
    for line in lines:
        subprocess.run(line, shell=True, cwd=folder, check=True)
    sets = [f"{name}: {{dataset_parser: drawn, dataset_name: {name}}}\n" for name in SETS]
    (folder / "sets.yaml").write_text("".join(sets))
    for module, arguments in (
        ("eval_embedding", ["--model_name_or_path", "demo"]),
        ("eval_reranker", ["--model_name_or_path", "demo-reranker", "--topk", "3"]),
    ):
        command = [sys.executable, published_evaluation.__file__, module, *arguments]
        command += ["--dataset_config", "sets.yaml", "--encode_output_path", "results"]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run(command, cwd=folder, check=True, env=environment)
    return folder / "results"


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_evaluated_and_reranked(evaluated, name):
    found = json.loads((evaluated / f"{name}_score.json").read_text())
    assert found["num_pred"] == published_evaluation.COUNT
    assert found["hit@1"] > 0.8
    again = json.loads((evaluated / "rerank_output" / f"{name}_rerank_score.json").read_text())
    assert again["num_pred"] == published_evaluation.COUNT
    assert again["hit@5"] == 1.0
