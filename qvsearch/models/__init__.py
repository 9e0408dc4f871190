"""The network, what it sees of a picture, and where its weights come from."""

import os

# read by huggingface_hub when it is imported, which only modules below here cause
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
