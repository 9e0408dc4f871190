"""Decodes the characters of a text file: as Unicode if valid, or by a guess from a sample."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterator

from qvsearch.errors import MediaError

FEWEST_HIGH = 10  # bytes beyond ASCII; fewer are no evidence against cp1252
WINDOW = 65_536  # bytes from the first one beyond ASCII on, from whose lines a sample is taken
SAMPLE = 8192  # bytes to guess from; guesses from longer samples were not better
SAMPLE_LINE = 1024  # bytes of one line in it
CHAOS = 0.4  # most disorder, by charset-normalizer's measure; terms in Latin letters add to it

_BOMS = (  # UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# all but tab, line ends and the escape of coloured logs
_CONTROLS = re.compile("[\x01-\x08\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f]")
_CONTROL_BYTES = bytes([*range(0x01, 0x09), *range(0x0E, 0x1B), *range(0x1C, 0x20)])
_MAX_CONTROLS = 0.01  # of the characters: a stray form of DOS end-of-file is still text
_MAX_ZEROS = 1 / 3  # of them, each run as one: names may end in one, letters never do
_MAX_UNASSIGNED = 0.01  # of the characters of possible UTF-16, in which most numbers are one

_HIGH = re.compile(rb"[\x80-\xff]")
# scripts other than Latin have long runs of such bytes; Finnish and Portuguese have pairs
_RUN = re.compile(rb"[\x80-\xff]{3,}")
_C1 = re.compile(rb"[\x80-\x9f]")
# up to a byte that is never the second one of a character
_WHOLE = re.compile(rb"(?s).*[\x00-\x2f]")
_JIS = (b"\x1b$B", b"\x1b$@")  # the escapes before the Japanese of ISO-2022-JP, which is ASCII

_OTHER_SCRIPTS = [
    *("gb18030", "big5", "cp932", "euc_jp", "cp949", "johab"),
    *("cp1251", "koi8_r", "koi8_u", "cp866", "iso8859_5", "mac_cyrillic"),
    *("cp1253", "cp1255", "cp1256", "iso8859_6", "cp874"),
]


def as_named(data: bytes, encoding: str) -> str | None:
    """Return the characters in the encoding that a file names; None if that is wrong or unknown."""
    try:
        text = data.decode(encoding)
        text.encode()  # UTF-7 may name halves of characters, which no JSON can hold
    except (LookupError, ValueError):
        return None
    return text


def to_text(data: bytes) -> str:
    """Return the characters of a file, without a byte order mark.

    Zero bytes at the end are dropped; others, which crashes leave in logs, become a space.
    Raises MediaError if it is not text, or its encoding is unknown.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            text = data.decode(encoding, errors="replace")
            break
    else:
        text = _with_zeros(data) if 0 in data else _without_zeros(data)
    if not _is_sound(text):
        raise MediaError("binary file")
    text = text.rstrip("\0")
    while "\0\0" in text:  # a regular expression would hold each run
        text = text.replace("\0\0", "\0")
    if text.count("\0") > _MAX_ZEROS * len(text):
        raise MediaError("binary file")
    return text.replace("\0", " ")


def _is_sound(text: str) -> bool:
    controls = sum(1 for _ in _CONTROLS.finditer(text))
    return controls <= _MAX_CONTROLS * (len(text) - text.count("\0"))


def _with_zeros(data: bytes) -> str:
    """Decode UTF-16 without its mark, or another encoding with stray zero bytes."""
    end = len(data.rstrip(b"\0"))
    data = data[: end + end % 2]  # the last character of UTF-16 may end in one
    zeros = {"utf-16-be": data[0::2].count(0), "utf-16-le": data[1::2].count(0)}
    few, many = sorted(zeros.values())
    if few < many:  # they are on the side of the spaces and the line ends
        text = _utf16(data, max(zeros, key=zeros.__getitem__))
        # Latin letters in UTF-16 have zero for every other byte, and are ASCII without those
        if text is not None and (many > len(data) / 4 or not _is_utf8(data)):
            return text
    return _without_zeros(data.rstrip(b"\0"))


def _utf16(data: bytes, encoding: str) -> str | None:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return None
    start = text[:SAMPLE]
    unassigned = sum(unicodedata.category(each) in ("Cn", "Co") for each in start)
    sound = _is_sound(text) and "\0" not in text and unassigned <= _MAX_UNASSIGNED * len(start)
    return text if sound else None


def _is_utf8(data: bytes) -> bool:
    try:
        return _is_sound(data.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def _without_zeros(data: bytes) -> str:
    if any(escape in data for escape in _JIS) and data.isascii():
        return data.decode("iso2022_jp", errors="replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("utf-8", errors="replace")
    damaged = text.count("\ufffd")
    if len(text) - len(text.encode("ascii", "ignore")) > 2 * damaged:
        return text  # UTF-8 with a few broken characters: other encodings are seldom valid
    controls = len(data) - len(data.translate(None, _CONTROL_BYTES))
    if controls > _MAX_CONTROLS * (len(data) - data.count(0)):
        raise MediaError("binary file")
    return data.decode(_guess(b"".join(_sample(data))), errors="replace")


def _guess(sample: bytes) -> str:
    """Return the encoding of lines that are not UTF-8; raises MediaError if it is unknown."""
    high = len(_HIGH.findall(sample))
    if high < FEWEST_HIGH:
        return "cp1252"
    is_latin = sum(map(len, _RUN.findall(sample))) < high / 2
    # the first one wins a tie; bytes that are controls in ISO 8859-2 are letters in cp1250
    central = "cp1250" if _C1.search(sample) else "iso8859_2"
    known = ["cp1252", central, "cp1254", "cp1257"] if is_latin else _OTHER_SCRIPTS

    from charset_normalizer import from_bytes  # few texts need it

    matches = from_bytes(sample, cp_isolation=known, threshold=CHAOS)
    ranks = {
        each.encoding: (round(match.chaos, 2), -match.coherence, known.index(each.encoding))
        for match in matches
        for each in (match, *match.submatch)  # these decode the sample alike
    }
    if not ranks and is_latin:
        return "cp1252"
    if not ranks:
        raise MediaError(
            "unknown encoding: not UTF-8, and its letters show no other; save it as UTF-8"
        )
    return min(ranks, key=ranks.__getitem__)


def _sample(data: bytes) -> Iterator[bytes]:
    """Yield the first lines that are not ASCII, each without a character that is cut off."""
    match = _HIGH.search(data)
    first = match.start() if match else 0
    start = max(data.rfind(end, 0, first) for end in (b"\n", b"\r")) + 1
    size = 0
    for line in data[max(start, first - SAMPLE_LINE) :][:WINDOW].splitlines(keepends=True):
        match = _HIGH.search(line)
        if match is None:
            continue
        part = line[line.rfind(b" ", 0, match.start()) + 1 :][:SAMPLE_LINE]
        whole = _WHOLE.match(part)
        if whole or size:  # otherwise there is only one word
            part = whole[0] if whole else b""
        yield part.replace(b"\0", b" ")
        size += len(part)
        if size > SAMPLE:
            return
