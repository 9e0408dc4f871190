"""Trains the demo's two checkpoints and measures them; run its modules from the folder `tests`."""
