"""Converts prompts to token ids, by the tokenizer.json of a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qvsearch.errors import QvsearchError
from qvsearch.models.checkpoint import TOKENIZER


class Tokenizer:
    """The tokenizer of a checkpoint's folder; raises QvsearchError if it has no usable one."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer as Reader
        from tokenizers.normalizers import NFC

        path = folder / TOKENIZER
        try:
            self._reader: Any = Reader.from_file(str(path))
        except Exception as error:  # noqa: BLE001 (tokenizers raises nothing narrower for its file)
            raise QvsearchError(f"{folder} has no usable tokenizer: {error}") from error
        # whoever saved the file may have left theirs in it
        self._reader.no_truncation()
        self._reader.no_padding()
        if self._reader.normalizer is None:  # Qwen's own has it, whatever its file says
            self._reader.normalizer = NFC()
        added = self._reader.get_added_tokens_decoder()
        self.special_ids = frozenset(number for number, each in added.items() if each.special)

    def ids(self, prompt: str) -> list[int]:
        """Return the ids of one prompt."""
        return self.ids_of([prompt])[0]

    def ids_of(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each prompt; long lists are shared by all cores."""
        return [each.ids for each in self._reader.encode_batch_fast(list(prompts))]

    def starts(self, prompt: str) -> list[int]:
        """Return the character at which each token of a prompt starts."""
        return [start for start, _ in self._reader.encode(prompt).offsets]

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens as well."""
        text: str = self._reader.decode(list(ids), skip_special_tokens=False)
        return text

    def id(self, token: str) -> int | None:
        """Return the id of a token, or None if there is none."""
        number: int | None = self._reader.token_to_id(token)
        return number
