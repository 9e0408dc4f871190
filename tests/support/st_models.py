"""Small models as sentence-transformers saves them: a dual encoder, a text model, the demo's."""

import json
import shutil
import string
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipProcessor,
)

from qvsearch.models.registry import DEMO_FOLDER

DUAL_DIM, TEXT_DIM = 96, 64
PROMPTS = {"query": "query: ", "document": "passage: ", "topic": "topic of: "}
LETTERS = string.ascii_lowercase + string.digits + string.punctuation
SMALL = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2}
# as Qwen3-VL's, without tools; a system turn only if there is an instruction
TEMPLATE = (
    "{%- for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.content is string %}{{ message.content }}"
    "{%- else %}{%- for part in message.content %}"
    "{%- if part.type == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{%- elif part.type == 'video' %}{{ '<|vision_start|><|video_pad|><|vision_end|>' }}"
    "{%- else %}{{ part.text }}{%- endif %}{%- endfor %}{%- endif %}"
    "{{ '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{%- endif %}"
)


def write_dual(folder: Path) -> Path:
    """CLIP's architecture with random weights; it has no modules.json, as published ones have."""
    torch.manual_seed(3)
    words = [letter + end for letter in LETTERS for end in ("", "</w>")]
    vocabulary = {"<|startoftext|>": 0, "<|endoftext|>": 1}
    vocabulary |= {word: place for place, word in enumerate(words, len(vocabulary))}
    heads = {**SMALL, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={
            **heads,
            "vocab_size": len(vocabulary),
            "max_position_embeddings": 64,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 1,
        },
        vision_config={**heads, "image_size": 32, "patch_size": 8},
        projection_dim=DUAL_DIM,
    )
    CLIPModel(config).save_pretrained(folder)
    pixels = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=64)
    CLIPProcessor(pixels, tokenizer).save_pretrained(folder)
    return folder


def write_siglip(folder: Path) -> Path:
    """SigLIP's architecture with random weights: the vector of a text is that of its last token."""
    torch.manual_seed(5)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(DEMO_FOLDER / "tokenizer.json"),
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        model_input_names=["input_ids"],
    )
    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), tokenizer.eos_token_id)
    heads = {**SMALL, "num_attention_heads": 2}
    words = {**heads, **ends, "vocab_size": len(tokenizer), "max_position_embeddings": 32}
    config = SiglipConfig(
        text_config=words, vision_config={**heads, "image_size": 32, "patch_size": 8}
    )
    SiglipModel(config).save_pretrained(folder)
    pixels = SiglipImageProcessor(size={"height": 32, "width": 32})
    SiglipProcessor(pixels, tokenizer).save_pretrained(folder)
    return folder


def write_text(folder: Path) -> Path:
    """BERT's architecture with random weights: texts only, mean pooling, prompts."""
    torch.manual_seed(4)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [start + letter for letter in LETTERS for start in ("", "##")]
    config = BertConfig(
        vocab_size=len(words), num_attention_heads=2, max_position_embeddings=128, **SMALL
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizer(vocab={word: place for place, word in enumerate(words)}).save_pretrained(folder)
    write_modules(folder, "Transformer", "Pooling", "Normalize")
    write_json(
        folder / "1_Pooling" / "config.json", {"embedding_dimension": 64, "pooling_mode": "mean"}
    )
    write_json(folder / "config_sentence_transformers.json", {"prompts": PROMPTS})
    return folder


def write_static(folder: Path) -> Path:
    """A table of a vector for each token, whose mean is a text's; its input is bare texts."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    torch.manual_seed(6)
    tokenizer = Tokenizer.from_file(str(DEMO_FOLDER / "tokenizer.json"))
    table = StaticEmbedding(tokenizer, embedding_dim=32)
    SentenceTransformer(modules=[table], device="cpu").save(str(folder), create_model_card=False)
    return folder


def write_demo(folder: Path) -> Path:
    """The demo's checkpoint with what sentence-transformers needs: processor, template, pooling."""
    folder.mkdir(exist_ok=True)
    for path in DEMO_FOLDER.iterdir():
        shutil.copyfile(path, folder / path.name)
    pixels = {
        "do_convert_rgb": True,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "merge_size": 2,
        "patch_size": 16,
        "temporal_patch_size": 2,
        "size": {"shortest_edge": 1024, "longest_edge": 2**21},
        "processor_class": "Qwen3VLProcessor",
    }
    write_json(folder / "preprocessor_config.json", pixels)
    video = {**pixels, "video_processor_type": "Qwen3VLVideoProcessor", "do_sample_frames": True}
    del video["image_processor_type"]
    write_json(folder / "video_preprocessor_config.json", video)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    write_modules(folder, "Transformer", "Pooling", "Normalize")
    message = {"method": "forward", "method_output_name": "last_hidden_state"}
    write_json(
        folder / "sentence_bert_config.json",
        {
            "transformer_task": "feature-extraction",
            "modality_config": {
                **dict.fromkeys(("text", "image", "video"), message),
                "message": {**message, "format": "structured"},
            },
            "module_output_name": "token_embeddings",
            "processing_kwargs": {"chat_template": {"add_generation_prompt": True}},
        },
    )
    pooling = {"embedding_dimension": 128, "pooling_mode": "lasttoken"}
    write_json(folder / "1_Pooling" / "config.json", pooling)
    prompts = {
        "query": "Retrieve images or text relevant to the user's query.",
        "document": "Represent the user's input.",
    }
    write_json(folder / "config_sentence_transformers.json", {"prompts": prompts})
    return folder


def write_modules(folder: Path, *names: str) -> None:
    package = "sentence_transformers.sentence_transformer.modules"
    kinds = {"Transformer": "sentence_transformers.base.modules.transformer.Transformer"}
    modules = [
        {
            "idx": place,
            "name": str(place),
            "path": f"{place}_{name}" if place else "",
            "type": kinds.get(name, f"{package}.{name}"),
        }
        for place, name in enumerate(names)
    ]
    write_json(folder / "modules.json", modules)


def write_json(path: Path, record: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record))
