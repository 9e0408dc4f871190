"""Fine-tuning: training data to an adapter, as `qvsearch finetune` does it.

`run.finetune` is its one function for callers. It reads pairs (`data`), trains a LoRA adapter
(`loop`) for an objective (`objectives`), and writes it with a card.
"""
