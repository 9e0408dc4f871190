"""A drawn world, and two small checkpoints of the real architecture that are trained on it.

`show.write_world` writes a folder of pictures, clips and notes with example queries, for the
command demo. `models.registry` reads `checkpoint/` and `reranker/`. The training is in
`tests/demo_model`.
"""
