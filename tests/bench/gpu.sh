#!/usr/bin/env bash
# Prints what a GPU makes of qvsearch, as Markdown, in at most ten minutes; needs no network:
#   tests/bench/gpu.sh --upstream Qwen3-VL-Embedding
#   tests/bench/gpu.sh --device cpu --tiny       # tries the script
# The options are those of gpu.py. $PYTHON (default: python3) must have torch, transformers and
# torchvision; qwen-vl-utils is for the side by side only.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
for module in numpy torch transformers torchvision PIL huggingface_hub safetensors; do
    "$python" -c "import importlib.util, sys; sys.exit(not importlib.util.find_spec('$module'))" ||
        { echo "gpu.sh: $python has no $module" >&2; exit 2; }
done
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false
export HF_HUB_OFFLINE=1
exec "$python" tests/bench/gpu.py "$@"
