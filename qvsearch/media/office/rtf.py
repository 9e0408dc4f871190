"""Rich text (.rtf): its words; pictures, objects and styles are left out."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, replace
from typing import BinaryIO

from qvsearch.errors import MediaError
from qvsearch.media.office.contents import Contents, field, keywords
from qvsearch.types import NO_METADATA

MOST_BYTES = 64 * 2**20  # with pictures in hex, which are left out
MOST_DEPTH = 1000  # groups within groups; programs write some ten

_TOKEN = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z])"
    rb"|([{}])|([^\\{}\r\n]+)|[\r\n]"
)
_UNREAD = frozenset(
    b"fonttbl colortbl stylesheet pict object themedata colorschememapping datastore latentstyles"
    b" listtable listoverridetable rsidtbl generator xmlnstbl filetbl revtbl fldinst bkmkstart"
    b" bkmkend header footer headerl headerr footerl footerr info mmathPr".split()
)
# code pages of the character sets of fonts; all others are that of the file
_CHARSETS = {
    **{77: "mac_roman", 128: "cp932", 129: "cp949", 134: "cp936", 136: "cp950", 161: "cp1253"},
    **{162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251"},
    **{222: "cp874", 238: "cp1250"},
}
_OF_FONTS = {b"deff", b"f", b"plain", b"fcharset"}
_INFO = {b"title": "title", b"author": "author", b"keywords": "keywords"}
_BREAKS = {b"par": "\n", b"line": "\n", b"row": "\n", b"sect": "\n", b"page": "\n\n"} | {
    **{b"tab": "\t", b"cell": " | ", b"emdash": "—", b"endash": "–", b"bullet": "•"},
    **{b"lquote": "‘", b"rquote": "’", b"ldblquote": "“", b"rdblquote": "”"},
}
_SYMBOLS = {b"~": "\u00a0", b"_": "-", b"{": "{", b"}": "}", b"\\": "\\", b"\n": "\n", b"\r": "\n"}


@dataclass(slots=True)
class _Group:
    r"""The state of a group: where its text goes (None for nowhere), and what follows a \\u.

    `font` is the number of the font, None for that of the file. `is_fonts` in the table of fonts.
    """

    place: str | None = "body"
    fallback: int = 1
    font: int | None = None
    is_fonts: bool = False


def read(file: BinaryIO) -> Contents:
    """Read rich text; raises MediaError."""
    data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise MediaError(f"too large: rich text of more than {MOST_BYTES / 2**20:.0f} MiB")
    if not data.startswith(b"{\\rtf"):
        raise MediaError("damaged: not rich text")
    reader = _Reader()
    reader.read(data)
    values = {place: _joined(parts) for place, parts in reader.texts.items()}
    metadata = replace(
        NO_METADATA,
        title=field(values.get("title")),
        author=field(values.get("author")),
        keywords=keywords(values.get("keywords")),
    )
    lines = values.get("body", "").split("\n")
    return Contents([[(None, line.strip(" |")) for line in lines]], metadata)


def _joined(parts: list[str]) -> str:
    r"""Join texts; pairs of \\u stand for characters beyond 65,535."""
    return "".join(parts).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class _Reader:
    """Reads the tokens of rich text one by one; `texts` has what was found, by place."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self._groups: list[_Group] = []
        self._group = _Group()
        self._encoding = "cp1252"
        self._font = 0  # of the file
        self._fonts: dict[int, str] = {}  # encodings by the number of the font
        self._bytes = b""  # of characters that have several
        self._skip = 0  # characters that stand for a \\u before them
        self._double = False  # after \\dbch: the font that follows is that of double bytes only
        self._optional = False  # after \\*, which marks what older programs cannot read

    def read(self, data: bytes) -> None:
        """Read a file; raises MediaError."""
        place = 0
        while place < len(data):
            match = _TOKEN.match(data, place)
            place = place + 1 if match is None else match.end()
            if match is None:
                continue
            word, number, code, symbol, brace, text = match.groups()
            if code is None and text is None:
                self._flush()
            if word == b"bin":
                place += max(0, int(number or 0))
            elif word is not None:
                self._word(word, number)
            elif code is not None:
                self._code(bytes.fromhex(code.decode()))
            elif brace is not None:
                self._brace(brace)
            elif text is not None:
                rest = text[self._skip :]
                self._skip = max(0, self._skip - len(text))
                self._bytes += rest  # the second half of a character may be a letter
                self._flush()
            elif symbol in _SYMBOLS:
                self._put(_SYMBOLS[symbol])
            self._optional = symbol == b"*"
        self._flush()

    def _put(self, text: str) -> None:
        if self._group.place is not None:
            self.texts.setdefault(self._group.place, []).append(text)

    def _flush(self) -> None:
        if self._bytes:
            font = self._font if self._group.font is None else self._group.font
            encoding = self._fonts.get(font, self._encoding)
            self._put(self._bytes.decode(encoding, "replace"))
            self._bytes = b""

    def _code(self, byte: bytes) -> None:
        if self._skip:
            self._skip -= 1
        else:
            self._bytes += byte

    def _brace(self, brace: bytes) -> None:
        self._skip = 0
        if brace == b"}":
            self._group = self._groups.pop() if self._groups else _Group()
            return
        self._groups.append(self._group)
        if len(self._groups) > MOST_DEPTH:
            raise MediaError("damaged: its groups are nested too deep")
        self._group = replace(self._group)

    def _word(self, word: bytes, number: bytes | None) -> None:
        group = self._group
        if word == b"ansicpg":
            self._encoding = _encoding(number, self._encoding)
        elif word in _OF_FONTS:
            self._font_word(word, int(number or 0))
        elif word == b"uc":
            group.fallback = min(int(number or 1), 10)
        elif word == b"u" and number:
            self._put(chr(int(number) % 65_536))
            self._skip = group.fallback
        elif word in _INFO:
            group.place = _INFO[word]
        elif self._optional or word in _UNREAD:
            group.place = None
            group.is_fonts = word == b"fonttbl"
        elif word in _BREAKS:
            self._put(_BREAKS[word])
        self._double = word == b"dbch"

    def _font_word(self, word: bytes, number: int) -> None:
        group = self._group
        if word == b"deff":
            self._font = number
        elif word == b"f":
            group.font = group.font if self._double else number
        elif word == b"plain":
            group.font = None
        elif group.is_fonts and group.font is not None and number in _CHARSETS:
            self._fonts[group.font] = _CHARSETS[number]


def _encoding(number: bytes | None, before: str) -> str:
    try:
        return codecs.lookup(f"cp{(number or b'').decode()}").name
    except LookupError:
        return before
