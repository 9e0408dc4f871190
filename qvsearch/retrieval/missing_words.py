"""Which words of a library no search finds yet, and the command that adds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvsearch.library.names import option
from qvsearch.library.words_file import has_full_text
from qvsearch.published.opening import is_published

if TYPE_CHECKING:
    from qvsearch.library.library import Library


@dataclass(frozen=True, slots=True)
class MissingWords:
    """Whether the words of all files are missing or those of some, and what adds them.

    `publishers` are those of a shared table who have to run `command`.
    """

    is_all: bool
    command: str
    publishers: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the rest of a sentence about the library."""
        if self.is_all:
            return (
                "has no index of words yet, and is searched by meaning alone;"
                f" `{self.command}` builds it"
            )
        by = f" by {', '.join(self.publishers)}" if self.publishers else ""
        return (
            f"has no words of some files, which are found by meaning; `{self.command}`{by} adds"
            " them without the model"
        )


def missing_words(library: Library) -> MissingWords | None:
    """Return which words of a library are not found; None if all are."""
    if is_published(library):
        command = f"qvsearch publish {library.folder}"
        if library.lacks_word_index:
            return MissingWords(is_all=True, command=command)
        names = tuple(library.outdated)
        return MissingWords(is_all=False, command=command, publishers=names) if names else None
    if not (has_full_text() and library.without_words()):
        return None
    return MissingWords(is_all=False, command=f"qvsearch index{option(library.folder)}")
