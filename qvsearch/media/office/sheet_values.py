"""The values of a workbook's cells as texts: shared strings, numbers and dates."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from qvsearch.media.office.xml import elements

DATES = frozenset([*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)])  # ECMA-376
LAST_DAY = 2_958_465  # 9999-12-31

_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - days of a sheet have no zone
_STRING_END = re.compile(rb"</(?:\w+:)?si>|<(?:\w+:)?si\s*/>")
_SPOKEN = re.compile(rb"<(?:\w+:)?rPh\b.*?</(?:\w+:)?rPh>", re.DOTALL)
_TEXT = re.compile(rb"<(?:\w+:)?t(?:\s[^>]*)?>([^<]*)<")
_QUOTED = re.compile(r"\"[^\"]*\"|\[[^\]]*\]|\\.")
_FLAGS = {"0": "FALSE", "1": "TRUE"}


class DateFormats:
    """Which styles of cells show a number as a date."""

    def __init__(self, styles: bytes) -> None:
        custom: set[int] = set()
        self._dates: list[bool] = []
        in_cells = False
        for name, attributes in elements(styles):
            if name == "numFmt" and _is_date(attributes.get("formatCode", "")):
                custom.add(_number(attributes.get("numFmtId")))
            elif name in ("cellXfs", "cellStyleXfs", "cellStyles"):
                in_cells = name == "cellXfs"
            elif name == "xf" and in_cells:
                format_ = _number(attributes.get("numFmtId"))
                self._dates.append(format_ in DATES or format_ in custom)

    def is_date(self, style: str) -> bool:
        """Return whether cells of a style, by its number, show dates."""
        number = _number(style)
        return 0 <= number < len(self._dates) and self._dates[number]


def _is_date(code: str) -> bool:
    return any(letter in _QUOTED.sub("", code).lower() for letter in "yd")


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text[:9].isdecimal() else -1


def shared_strings(data: bytes) -> Sequence[bytes]:
    """Return the XML of each shared string; a cell's text is found in it by `value_text`.

    Most strings of a large workbook are of rows that are not in the sample.
    """
    return _STRING_END.split(data)[:-1]


def value_text(value: str, type_: str, is_date: bool, strings: Sequence[bytes]) -> str:
    """Return the text of a cell from the value in its XML and its type there."""
    if type_ == "s":
        number = _number(value.strip())
        return _string(strings[number]) if 0 <= number < len(strings) else ""
    if type_ == "b":
        return _FLAGS.get(value, value)
    return _date(value) if is_date else _shortened(value) if type_ == "n" else value


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
