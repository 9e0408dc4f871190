"""The published model classes' interface, computed by qvsearch.

`Qwen3VLEmbedder` and `Qwen3VLReranker` take the constructor arguments and the dictionaries of the
classes in QwenLM/Qwen3-VL-Embedding (8ce3aab, `src/models`). docs/python.md lists the differences.
"""

from qvsearch.compat.classes import Qwen3VLEmbedder, Qwen3VLReranker

__all__ = ["Qwen3VLEmbedder", "Qwen3VLReranker"]
