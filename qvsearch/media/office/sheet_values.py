"""The values of a workbook's cells as texts: shared strings, numbers and dates."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache

from qvsearch.media.office.xml import elements

DATES = (*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59))
# codes of formats by their numbers (ECMA-376, 18.8.30)
CODES = dict.fromkeys(DATES, "d") | {
    **{1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 9: "0%", 10: "0.00%"},
    **dict.fromkeys([5, 6, 37, 38, 41, 42], "#,##0"),
    **dict.fromkeys([7, 8, 39, 40, 43, 44], "#,##0.00"),
}
STYLES = 256  # formats of which it is held how they show numbers
LARGEST = 10**15  # numbers of a sheet have 15 digits
LAST_DAY = 2_958_465  # 9999-12-31

_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - days of a sheet have no zone
_STRING_END = re.compile(rb"</(?:\w+:)?si>|<(?:\w+:)?si\s*/>")
_SPOKEN = re.compile(rb"<(?:\w+:)?rPh\b.*?</(?:\w+:)?rPh>", re.DOTALL)
_TEXT = re.compile(rb"<(?:\w+:)?t(?:\s[^>]*)?>([^<]*)<")
_QUOTED = re.compile(r"\"[^\"]*\"|\[[^\]]*\]|\\.")
_WIDTH = re.compile(r"[_*].")  # as wide as a character, or filled with it
_DIGITS = re.compile(
    r"(?<![#0,.])(?P<whole>[#0,]{0,20}0)(?:\.(?P<decimals>0{1,10}))?(?![#0,.])"  # 28 digits at most
)
_FLAGS = {"0": "FALSE", "1": "TRUE"}


class CellFormats:
    """How styles of cells show a number: as a date, or with which decimals and groups."""

    def __init__(self, styles: bytes) -> None:
        codes = dict(CODES)
        self._codes: list[str] = []  # of each style; empty for a number as it is
        in_cells = False
        for name, attributes in elements(styles):
            if name == "numFmt":
                codes[_number(attributes.get("numFmtId"))] = attributes.get("formatCode", "")
            elif name in ("cellXfs", "cellStyleXfs", "cellStyles"):
                in_cells = name == "cellXfs"
            elif name == "xf" and in_cells:
                self._codes.append(codes.get(_number(attributes.get("numFmtId")), ""))

    def shown(self, value: str, style: str) -> str:
        """Return a number, given as in the XML, as cells of a style, by its number, show it."""
        number = _number(style)
        code = self._codes[number] if 0 <= number < len(self._codes) else ""
        return _date(value) if _is_date(code) else _shown(value, code)

    @property
    def show_others(self) -> bool:
        """Whether some numbers are shown otherwise than they are stored."""
        return any(_digits(code) is not None for code in self._codes)


@lru_cache(STYLES)
def _is_date(code: str) -> bool:
    return any(letter in _QUOTED.sub("", code).lower() for letter in "yd")


@lru_cache(STYLES)
def _digits(code: str) -> re.Match[str] | None:
    """Return the part of a format's code that has its digits, if these are fixed, for all numbers.

    What is in quotes or brackets is not in the string of the match.
    """
    first = code.partition(";")[0]
    plain = _WIDTH.sub("", _QUOTED.sub("", first))
    is_other = re.search("[?/@eyd]", plain.lower()) or re.search(r"\[[<>=]", first)
    return None if is_other else _DIGITS.search(plain)


def _shown(value: str, code: str) -> str:
    """Return a number as a format shows it, without texts and signs of currencies."""
    digits = _digits(code)
    try:
        number = Decimal(value)
        if digits is None or "_" in value or not number.is_finite() or abs(number) >= LARGEST:
            return _shortened(value)
    except ArithmeticError:  # no number, or too large a one
        return value
    percent = "%" if "%" in digits.string else ""
    number = number.scaleb(2) if percent else number
    rounded = number.quantize(Decimal(1).scaleb(-len(digits["decimals"] or "")), ROUND_HALF_UP)
    sign = "-" if rounded < 0 else ""
    if "," in digits["whole"]:
        return f"{sign}{rounded.copy_abs():,f}{percent}"
    whole, point, decimals = f"{rounded.copy_abs():f}".partition(".")
    return f"{sign}{whole.zfill(digits['whole'].count('0'))}{point}{decimals}{percent}"


def _number(text: str | None) -> int:
    is_number = text is not None and len(text) < 10 and text.isascii() and text.isdecimal()
    return int(text) if text is not None and is_number else -1


def shared_strings(data: bytes) -> Sequence[bytes]:
    """Return the XML of each shared string; a cell's text is found in it by `value_text`.

    Most strings of a large workbook are of rows that are not in the sample.
    """
    return _STRING_END.split(data)[:-1]


def value_text(
    value: str, type_: str, style: str, formats: CellFormats, strings: Sequence[bytes]
) -> str:
    """Return the text of a cell from the value in its XML, and its type and style there."""
    if type_ == "s":
        number = _number(value.strip())
        return _string(strings[number]) if 0 <= number < len(strings) else ""
    if type_ == "b":
        return _FLAGS.get(value, value)
    return formats.shown(value, style) if type_ == "n" else value


def _string(data: bytes) -> str:
    parts = _TEXT.findall(_SPOKEN.sub(b"", data))
    return html.unescape(b"".join(parts).decode("utf-8", "replace"))


def _date(value: str) -> str:
    try:
        days = float(value)
    except ValueError:
        return value
    if not 0 <= days <= LAST_DAY:
        return value
    moment = _EPOCH + timedelta(seconds=round(days * 86_400))
    if days < 1:
        return moment.strftime("%H:%M")
    return moment.strftime("%Y-%m-%d" if days == int(days) else "%Y-%m-%d %H:%M")


def _shortened(value: str) -> str:
    """Return a number without the error of its binary form: 0.1 is stored as 0.1000000000000001."""
    try:
        return f"{float(value):.15g}" if len(value) > 15 else value
    except ValueError:
        return value
