"""Qwen3-VL: its checkpoints, its prompts, its network and the devices that compute it.

Media are opened elsewhere; prompts and pixels come in. Neighbours use `registry` for names and
files of models and for a library's fingerprint, and `network.Network` for hidden states. They use
`prompt` for the exact strings, and `devices` for devices and number types. Only `hubs` connects to
other computers.
"""

import os

# read by huggingface_hub when it is imported, which only modules below here cause
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# read by OpenMP with torch: threads that wait for each other by spinning take the cores from all
# others, and on a busy machine from each other
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
