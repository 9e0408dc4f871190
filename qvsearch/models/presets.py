"""The instructions that the model's makers published for kinds of retrieval."""

from __future__ import annotations

from qvsearch.choices import Task

# Sources, all in QwenLM/Qwen3-VL-Embedding 8ce3aab: `photos` and `passages` are those of COCO and
# MS MARCO in examples/embedding.ipynb; `pages`, `videos` and `moments` are those of ViDoRe, MSR-VTT
# and MomentSeeker in src/evaluation/mmeb_v2/data/datasets.
INSTRUCTIONS = {
    Task.PHOTOS: "Find images matching this description.",
    Task.PAGES: "Find a document image that matches the given query.",
    Task.VIDEOS: "Find a video that contains the following visual content.",
    Task.MOMENTS: "Find the clip that corresponds to the given text.",
    Task.PASSAGES: "Retrieve relevant passages.",
}
