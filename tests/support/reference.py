"""The model as transformers and qwen_vl_utils run it themselves: what qvsearch is compared with.

Nothing here comes from qvsearch. The formulas are those of the published embedder and reranker.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from torch.nn.functional import normalize
from transformers import (
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLModel,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)
from transformers.video_utils import VideoMetadata

torch.set_num_threads(1)  # the matrices are so small that threads would only wait for each other

_NAMES = """endoftext im_start im_end object_ref_start object_ref_end box_start box_end quad_start
quad_end vision_start vision_end vision_pad image_pad video_pad"""
SPECIALS = [f"<|{name}|>" for name in _NAMES.split()]
# what Qwen3-VL's own template makes of system and user turns, written anew
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string %}{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- elif part.type == 'video' %}{{ '<|vision_start|><|video_pad|><|vision_end|>' }}
{%- elif part.type == 'text' %}{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}
"""
CORPUS = [
    "yes no system user assistant Represent the user's input. Retrieve images or text relevant",
    "Judge whether the Document meets the requirements based on the Query and the Instruct",
    "a dog on a beach at sunset <1.5 seconds> der Hund am Strand 海滩上的狗",
]

TINY_TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 5e6,
        "mrope_section": [4, 2, 2],
        "mrope_interleaved": True,
    },
}
TINY_VISION = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "depth": 4,
    "num_heads": 4,
    "out_hidden_size": 64,
    "num_position_embeddings": 256,
    "deepstack_visual_indexes": [0, 1, 2],
}
WIDE_TEXT = {  # Qwen3-VL-Embedding-2B, with 2 layers of its 28
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 2,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "rope_parameters": TINY_TEXT["rope_parameters"] | {"mrope_section": [24, 20, 20]},
}
WIDE_VISION = {  # with 3 layers of its 24
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "depth": 3,
    "num_heads": 16,
    "out_hidden_size": 2048,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [0, 1],
}


def make_tokenizer() -> Qwen2Tokenizer:
    """Train a byte-level BPE of a few hundred entries that has Qwen's special tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(CORPUS * 20, trainer)
    trained = json.loads(bpe.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=trained["vocab"],
        merges=[tuple(merge) for merge in trained["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token=None,
        additional_special_tokens=SPECIALS,
        padding_side="right",
        model_max_length=262144,
    )


def append_end(tokenizer: Qwen2Tokenizer) -> None:
    """Let a tokenizer end every prompt in <|endoftext|>, as that of Qwen3-Embedding does."""
    end = "<|endoftext|>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"$A {end}",
        pair=f"$A $B {end}",
        special_tokens=[(end, tokenizer.convert_tokens_to_ids(end))],
    )


def write_checkpoint(
    folder: Path,
    text: dict = TINY_TEXT,
    vision: dict = TINY_VISION,
    *,
    tied: bool = True,
    appends_end: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write a checkpoint of random weights with the hub's file layout."""
    tokenizer = make_tokenizer()
    vocabulary = -(-len(tokenizer) // 64) * 64
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in VISION_TOKENS}
    config = Qwen3VLConfig(
        text_config={"vocab_size": vocabulary} | text | {"tie_word_embeddings": tied},
        vision_config=vision,
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
        tie_word_embeddings=tied,
    )
    torch.manual_seed(0)
    model = Qwen3VLForConditionalGeneration(config)
    with torch.no_grad():  # biases and norms are trained too, so let none be 0 or 1
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn_like(parameter)
    model.to(dtype).save_pretrained(folder)
    if appends_end:
        append_end(tokenizer)
    tokenizer.save_pretrained(folder)
    return folder


VISION_TOKENS = ("image_pad", "video_pad", "vision_start", "vision_end")


@dataclass(frozen=True)
class Reference:
    """A checkpoint in the plain classes, in float32."""

    processor: Qwen3VLProcessor
    model: Qwen3VLModel

    @classmethod
    def load(cls, folder: Path) -> Reference:
        sizes = {"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2}
        half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
        processor = Qwen3VLProcessor(
            Qwen2VLImageProcessor(
                **sizes, **half, size={"shortest_edge": 65536, "longest_edge": 16777216}
            ),
            Qwen2Tokenizer.from_pretrained(folder),
            Qwen3VLVideoProcessor(
                **sizes, **half, size={"shortest_edge": 4096, "longest_edge": 25165824}
            ),
            chat_template=CHAT_TEMPLATE,
        )
        model = Qwen3VLModel.from_pretrained(folder, dtype=torch.float32)
        return cls(processor, model.eval())

    def prompt(self, messages: list[dict]) -> str:
        """Render a conversation, its media still a placeholder each."""
        return self.processor.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )

    def inputs(self, conversations: list[list[dict]]) -> dict[str, torch.Tensor]:
        """Prepare a batch as the published embedder does: qwen_vl_utils, then the processor."""
        from qwen_vl_utils import process_vision_info

        images, videos, options = process_vision_info(
            conversations,
            image_patch_size=16,
            return_video_metadata=True,
            return_video_kwargs=True,
        )
        assert videos is None, "frames go through frame_inputs"
        prompts = [self.prompt(messages) for messages in conversations]
        return self._processed(text=prompts, images=images, **options)

    def frame_inputs(
        self,
        messages: list[dict],
        frames: list[Image.Image],
        fps: float,
        numbers: list[int] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Prepare one conversation with one video, given as frames of the right size.

        `numbers` are the frames' own in a video of `fps`; else they follow one another.
        """
        pixels = [torch.from_numpy(_array(frame)).permute(2, 0, 1) for frame in frames]
        count = len(frames)
        numbers = list(range(count)) if numbers is None else numbers
        metadata = VideoMetadata(fps=fps, frames_indices=numbers, total_num_frames=numbers[-1] + 1)
        return self._processed(
            text=[self.without_second_pair(self.prompt(messages))],
            videos=[torch.stack(pixels)],
            video_metadata=[metadata],
            do_sample_frames=False,
        )

    @staticmethod
    def without_second_pair(prompt: str) -> str:
        """Return a prompt whose videos get one pair of vision tokens a step, as the model had.

        Since transformers 5.10 only <|video_pad|> is replaced, which leaves a second pair.
        """
        if not hasattr(Qwen3VLProcessor, "replace_video_token"):
            return prompt
        return prompt.replace("<|vision_start|><|video_pad|><|vision_end|>", "<|video_pad|>")

    def _processed(self, **arguments: object) -> dict[str, torch.Tensor]:
        batch = self.processor(
            **arguments,
            padding=True,
            truncation=False,
            do_resize=False,
            return_mm_token_type_ids=True,
            return_tensors="pt",
        )
        return {name: value for name, value in batch.items() if torch.is_tensor(value)}

    @torch.inference_mode()
    def embed(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return unit rows: the last attended position of the last hidden state."""
        hidden = self.model(**inputs).last_hidden_state
        mask = inputs["attention_mask"]
        last = mask.shape[1] - 1 - mask.flip(1).argmax(1)
        return normalize(hidden[torch.arange(len(hidden)), last], dim=-1)


def load_generator(folder: Path) -> Qwen3VLForConditionalGeneration:
    """Load the class that has the whole vocabulary's head."""
    return Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


@torch.inference_mode()
def logit_difference(
    generator: Qwen3VLForConditionalGeneration,
    inputs: dict[str, torch.Tensor],
    tokenizer: Qwen2Tokenizer,
) -> float:
    """Return logit(yes) - logit(no) after one prompt."""
    logits = generator(**inputs).logits[0, -1]
    yes, no = tokenizer.convert_tokens_to_ids(["yes", "no"])
    return float(logits[yes] - logits[no])


def _array(image: Image.Image):
    import numpy as np

    return np.array(image)
