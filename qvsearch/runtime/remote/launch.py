"""The commands that start a server of vLLM for a model, and the files that it needs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qvsearch.errors import QvsearchError
from qvsearch.files import make_folder, write_file
from qvsearch.models.registry import MODELS, RERANKER
from qvsearch.runtime.remote.layouts import PIXEL_BUDGET
from qvsearch.types import VideoMode

TEMPLATES = Path(__file__).with_name("templates")
EMBEDDER_TEMPLATE = "qwen3_vl_embedding.jinja"
RERANKER_TEMPLATE = "qwen3_vl_reranker.jinja"
RELEASE = "0.32.0"  # the release of vLLM that the tests run
GPU_IMAGE = f"vllm/vllm-openai:v{RELEASE}"
CPU_IMAGE = f"vllm/vllm-openai-cpu:v{RELEASE}"
PORT = 8000
EMBEDDER_TOKENS, RERANKER_TOKENS = 8192, 10240  # the longest inputs
CPU_CACHE = 4  # GB of keys and values
IN_DOCKER = "/qvsearch"  # the folder of the template there
RERANKER_OVERRIDES = {  # how the yes and no of a language model become one score
    "architectures": ["Qwen3VLForSequenceClassification"],
    "classifier_from_token": ["no", "yes"],
    "is_original_qwen3_reranker": True,
}
QUIET = ("VLLM_NO_USAGE_STATS=1", "DO_NOT_TRACK=1")

_COPIED = ("model.safetensors", "tokenizer.json", "tokenizer_config.json")
_PIXELS = {  # those of the published checkpoints
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_convert_rgb": True,
    "rescale_factor": 1 / 255,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 3,
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "processor_class": "Qwen3VLProcessor",
}
_IMAGES = {
    "image_processor_type": "Qwen2VLImageProcessorFast",
    "size": {"shortest_edge": 4096, "longest_edge": 1_310_720},
}
_VIDEOS = {
    "video_processor_type": "Qwen3VLVideoProcessor",
    "size": {"shortest_edge": 4096, "longest_edge": 25_165_824},
    "do_sample_frames": True,
    "fps": 2,
    "min_frames": 4,
    "max_frames": 768,
}


@dataclass(frozen=True, slots=True)
class Served:
    """What a server is started for; `folder` holds the template, `model` is an id or a folder."""

    model: str
    role: str
    video_mode: VideoMode
    folder: Path = TEMPLATES
    port: int = PORT

    @property
    def template(self) -> str:
        """The name of the template's file."""
        return RERANKER_TEMPLATE if self.role == RERANKER else EMBEDDER_TEMPLATE


@dataclass(frozen=True, slots=True)
class Launch:
    """A command line that starts a server, and where it runs, e.g. `gpu` and `docker`."""

    device: str
    way: str
    command: str


def launches(served: Served) -> list[Launch]:
    """Return the command lines for a GPU and for a CPU, plain and in Docker."""
    return [
        Launch(device, way, make(served, device))
        for device in ("gpu", "cpu")
        for way, make in (("plain", _plain), ("docker", _docker))
    ]


def arguments(served: Served, model: str, template: str) -> Iterator[tuple[str, ...]]:
    """Yield the options of vLLM, each with its value; `template` is the path of the template."""
    published = MODELS.get(model)
    if published is not None:
        yield "--revision", published.revision
    yield "--runner", "pooling"
    tokens = RERANKER_TOKENS if served.role == RERANKER else EMBEDDER_TOKENS
    yield "--max-model-len", str(tokens)
    yield "--chat-template", template
    # the published checkpoints shrink pictures of more than 1280 tokens; --detail high has 1800
    yield "--mm-processor-kwargs", PIXEL_BUDGET
    if served.role == RERANKER:
        yield "--hf-overrides", json.dumps(RERANKER_OVERRIDES)
    if served.video_mode is not VideoMode.FRAMES:
        yield ("--trust-request-mm-kwargs",)  # clips are sent with the times of their frames
    yield "--dtype", "bfloat16"


def _plain(served: Served, device: str) -> str:
    cache = [f"VLLM_CPU_KVCACHE_SPACE={CPU_CACHE}"] if device == "cpu" else []
    options = [*arguments(served, served.model, str(served.folder / served.template))]
    options += [("--host", "127.0.0.1"), ("--port", str(served.port))]
    first = " ".join([*QUIET, *cache, "vllm serve", shlex.quote(served.model)])
    return _lines(first, *map(shlex.join, options))


def _docker(served: Served, device: str) -> str:
    given = [("--publish", f"127.0.0.1:{served.port}:{PORT}"), ("--ipc", "host")]
    if device == "gpu":
        given += [("--gpus", "all")]
    else:
        given += [("--security-opt", "seccomp=unconfined")]
        given += [("--env", f"VLLM_CPU_KVCACHE_SPACE={CPU_CACHE}")]
    given += [("--env", each) for each in QUIET]
    given += [("--volume", f"{served.folder.resolve()}:{IN_DOCKER}:ro")]
    model, cache = served.model, ['--volume "$HOME/.cache/huggingface:/root/.cache/huggingface"']
    if Path(model).is_dir():
        given += [("--volume", f"{Path(model).resolve()}:/model:ro")]
        model, cache = "/model", []
    options = arguments(served, model, f"{IN_DOCKER}/{served.template}")
    image = shlex.join((GPU_IMAGE if device == "gpu" else CPU_IMAGE, "--model", model))
    given_words, option_words = map(shlex.join, given), map(shlex.join, options)
    return _lines("docker run --rm", *given_words, *cache, image, *option_words)


def _lines(*parts: str) -> str:
    """Return a command line over several lines, which a shell reads as one."""
    return " \\\n  ".join(parts)


def write_templates(folder: Path) -> None:
    """Write the templates of both roles into a folder; raises QvsearchError."""
    make_folder(folder)
    for name in (EMBEDDER_TEMPLATE, RERANKER_TEMPLATE):
        write_file(folder / name, (TEMPLATES / name).read_bytes())


def write_checkpoint(source: Path, folder: Path) -> None:
    """Write a packaged checkpoint as a folder that vLLM can serve, with the templates.

    Raises QvsearchError if the folder holds anything but an earlier copy.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / EMBEDDER_TEMPLATE).exists():
        raise QvsearchError(f"{folder} is not empty; give --write a new folder")
    write_templates(folder)
    for name in _COPIED:
        write_file(folder / name, (source / name).read_bytes())
    config = json.loads((source / "config.json").read_bytes())
    # vLLM looks for it beside the sizes of the language model
    config["text_config"].setdefault("tie_word_embeddings", config["tie_word_embeddings"])
    for name, content in (
        ("config.json", config),
        ("preprocessor_config.json", _PIXELS | _IMAGES),
        ("video_preprocessor_config.json", _PIXELS | _VIDEOS),
    ):
        write_file(folder / name, json.dumps(content, indent=2).encode())
