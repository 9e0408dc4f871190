"""Files in an indexed folder that are of no kind that qvsearch takes, counted by suffix."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

OTHERS = "others"

# What a user may expect to be searched; every other suffix counts as one of the others.
_NAMED = {
    "RAW": "3fr arw cr2 cr3 crw dng erf iiq kdc mef mos mrw nef nrw orf pef raf rw2 rwl sr2 srf srw"
    " x3f",
    "pictures": "ai cdr djvu eps exr hdr icns jxl jxr psb svg wmf xcf",
    "films": "braw dv insv r3d rm rmvb swf",
    "documents": "azw3 doc docm docx epub htm html key mht mhtml mobi numbers odg odp ods odt one"
    " pages pdf pps ppsx ppt pptm pptx ps pub rtf vsd vsdx wpd wps xhtml xls xlsb xlsm xlsx",
    "messages": "eml emlx mbox msg pst",
    "sound": "aac ac3 aif aiff alac amr ape caf dsf flac m4a m4b mid mp3 oga ogg opus wav wma wv",
}
NAMED = frozenset(f".{suffix}" for names in _NAMED.values() for suffix in names.split())


@dataclass(frozen=True, slots=True)
class Leftovers:
    """The files of one folder that were left aside: how many of each suffix."""

    path: bytes
    suffixes: Mapping[str, int]


def suffix_of(name: bytes) -> str:
    """Return the suffix that a file is counted by, in lower case, or OTHERS."""
    suffix = os.fsdecode(os.path.splitext(name)[1]).lower()
    return suffix if suffix in NAMED else OTHERS


def total(leftovers: Iterable[Leftovers]) -> dict[str, int]:
    """Return how many files of each suffix there are, the most first and OTHERS last."""
    counts: Counter[str] = Counter()
    for each in leftovers:
        counts.update(each.suffixes)
    ordered = sorted(counts.items(), key=lambda item: (item[0] == OTHERS, -item[1], item[0]))
    return dict(ordered)


def leftovers_text(suffixes: Mapping[str, int]) -> str:
    """Return `5 .pdf, 1 .docx, 12 others`."""
    return ", ".join(
        f"{count:,} {'other' if suffix == OTHERS and count == 1 else suffix}"
        for suffix, count in suffixes.items()
    )
