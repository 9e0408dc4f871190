"""The network, what it sees of a picture, and where its weights come from."""

import os

# read by huggingface_hub when it is imported, which only modules below here cause
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# read by OpenMP with torch: threads that wait for each other by spinning take the cores from all
# others, and on a busy machine from each other
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
