"""The language of a text, by CLD2: it knows 80, and gives none for what is too short or mixed."""

from __future__ import annotations

MOST_CHARACTERS = 10_000  # of a text: enough for any language, and under a millisecond
LEAST_PERCENT = 80  # of the text in its main language; one in two languages has none
_FORMER = {"iw": "he", "jw": "jv"}  # codes of CLD2 that ISO 639 has replaced


def language_of(text: str) -> str | None:
    """Return the language of a text as a tag of BCP 47; None if it is not clear.

    Where pycld2 has no wheel, e.g. on 64-bit ARM with Linux, no text has one.
    """
    try:
        import pycld2
    except ImportError:
        return None
    part = "".join(each for each in text[:MOST_CHARACTERS] if each.isprintable() or each.isspace())
    try:
        is_reliable, _, found = pycld2.detect(part.encode(errors="ignore"), isPlainText=True)
    except pycld2.error:  # e.g. of characters that are not for interchange
        return None
    _, code, percent, _ = found[0]
    if not is_reliable or percent < LEAST_PERCENT or code == "un":
        return None
    return _FORMER.get(code, str(code))
