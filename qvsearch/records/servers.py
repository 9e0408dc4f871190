"""Records that `--json` prints of model servers: serve-model.

The docstring of each function describes its fields; `docs/json.md` is generated from them.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from qvsearch.formats import present

if TYPE_CHECKING:
    from qvsearch.runtime.remote.handshake import Comparison
    from qvsearch.runtime.remote.launch import Launch, Served


def launch_record(served: Served, launch: Launch) -> dict[str, object]:
    """Return a command of `serve-model --json`, one a line.

    model (string): the model's ID or folder
    role (string): `embedder`, for `--server`, or `reranker`, for `--rerank-server`
    device (string): `gpu` or `cpu`
    way (string): `plain`, or `docker`
    command (string): the command, over several lines
    template (string): the chat template that the server reads
    """
    return {
        "model": served.model,
        "role": served.role,
        **asdict(launch),
        "template": str(served.folder / served.template),
    }


def comparison_record(comparison: Comparison) -> dict[str, object]:
    """Return what was compared by `serve-model --check --json`, a form of inputs a line.

    server (string): the URL
    form (string): `text`, `picture` or `clip`; or `pair` of a reranker
    origin (string): where the known vectors or scores come from
    inputs (integer): number of compared inputs
    cosine (number): the lowest cosine; the median one if `agreement` is there
    error (number): the largest difference from a known score
    layout (boolean): whether the server's prompts were compared, and are the same
    agreement (string): the figures of a server that computes in another precision
    """
    rounded = {
        name: None if value is None else round(value, 7)
        for name, value in (("cosine", comparison.cosine), ("error", comparison.error))
    }
    agreement = None if comparison.agreement is None else str(comparison.agreement)
    return present(
        {
            "server": comparison.server,
            "form": str(comparison.form),
            "origin": comparison.origin,
            "inputs": comparison.inputs,
            **rounded,
            "layout": comparison.layout,
            "agreement": agreement,
        }
    )
