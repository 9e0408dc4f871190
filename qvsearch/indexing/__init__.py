"""Files to committed rows: `pipeline` tells the story, one module a step.

Neighbours use `pipeline.index`, `scan.ScanOptions`, `changes` and `status`.
"""
