"""Adds keywords to an XMP document; every other byte of it stays.

The document is never rebuilt: expat finds the places, and text is spliced in there. So comments,
unknown elements, prefixes and the layout stay as the program that wrote them had them.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape

from qvsearch.errors import QvsearchError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DC = "http://purl.org/dc/elements/1.1/"
SUBJECT = (DC, "subject")  # the keywords (XMP specification, part 1, 8.3)
# Keywords in a tree, each with the sign between its levels. Some programs that find one of these
# read it instead of dc:subject, so that a new keyword has to be there as well.
TREES = {
    ("http://ns.adobe.com/lightroom/1.0/", "hierarchicalSubject"): "|",
    ("http://www.digikam.org/ns/1.0/", "TagsList"): "/",
}
EMPTY = b"""\
<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""
UNUSUAL = "its keywords (dc:subject) are written in an unusual way; add some with another program"
_SEPARATOR = "\x01"  # between the parts of a name; no XML document can hold it
_DEPTH = 5  # RDF, Description, property, list, item
_LISTS = {(RDF, "Bag"), (RDF, "Seq"), (RDF, "Alt")}
_SPACE = re.compile(rb"\s*")
_TAG = re.compile(rb"""<[^"'>]*(?:"[^"]*"[^"'>]*|'[^']*'[^"'>]*)*>""")  # of well-formed XML
_ENCODINGS = (  # the marks of UTF-32 are refused by expat
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

Name = tuple[str, str]  # namespace and local name
Edit = tuple[int, int, bytes]  # start, end, and what comes there


@dataclass(slots=True)
class _Element:
    """An element by its places in the document: its start tag, and where its end tag begins.

    `attributes` have their prefix and value. `dc` is a prefix of DC that is in scope, if any.
    """

    name: Name
    prefix: str
    start: int
    inside: int  # the end of the start tag
    attributes: dict[Name, tuple[str, str]]
    dc: str
    end: int = 0  # the beginning of the end tag, or the end of an empty element
    texts: list[str] = field(default_factory=list)
    children: list[_Element] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text in it, without that of its children."""
        return "".join(self.texts).strip()

    def sibling(self, name: str) -> str:
        """Return the tag of another name in the namespace of this element."""
        return f"{self.prefix}:{name}" if self.prefix else name


def with_keywords(document: bytes, keywords: Sequence[str]) -> tuple[bytes, tuple[str, ...]]:
    """Return a document with keywords added, and those that its dc:subject did not have.

    A keyword in other letters of case is the same. It is added to dc:subject and, if there, to the
    hierarchical lists of Lightroom and digiKam. A document that has all of them stays as it is.
    Raises QvsearchError for anything but XMP, with the reason.
    """
    mark, encoding = next(
        (each for each in _ENCODINGS if document.startswith(each[0])), (b"", "utf-8")
    )
    try:
        data = document[len(mark) :].decode(encoding).encode()
    except UnicodeDecodeError as error:
        raise QvsearchError(f"it is not text in {encoding.upper()}") from error
    rdf = _parse(data)
    edits, added = _edits(data, rdf, keywords)
    longer = data
    for start, end, replacement in sorted(edits, reverse=True):
        longer = longer[:start] + replacement + longer[end:]
    if edits and _subjects(_parse(longer)) != [*_subjects(rdf), *added]:
        raise QvsearchError(UNUSUAL)
    return mark + longer.decode().encode(encoding), added


def _subjects(rdf: _Element) -> list[str]:
    """Return the keywords of a document."""
    subject, holder = _subject(rdf)
    if subject is not None:
        return _items(subject)
    return [] if holder is None else [holder.attributes[SUBJECT][1].strip()]


def _subject(rdf: _Element) -> tuple[_Element | None, _Element | None]:
    """Return dc:subject, or the element that has it as an attribute."""
    inner = [child for each in rdf.children for child in each.children]
    return (
        next((each for each in inner if each.name == SUBJECT), None),
        next((each for each in rdf.children if SUBJECT in each.attributes), None),
    )


def _edits(
    data: bytes, rdf: _Element, keywords: Sequence[str]
) -> tuple[list[Edit], tuple[str, ...]]:
    """Return the parts to replace, and the keywords that are new."""
    edits = []
    for element in (child for each in rdf.children for child in each.children):
        if (separator := TREES.get(element.name)) and _list_of(element) is not None:
            items = _items(element)
            known = [*items, *(item.rpartition(separator)[2] for item in items)]
            edits += _longer(data, element, rdf, _missing(keywords, known))
    subject, holder = _subject(rdf)
    added = _missing(keywords, _subjects(rdf))
    if not added:
        return edits, added
    if subject is not None:
        return edits + _longer(data, subject, rdf, added), added
    descriptions = [each for each in rdf.children if each.name == (RDF, "Description")]
    target = holder or next(iter(descriptions), None)
    if target is None:
        tag = rdf.sibling("Description")
        opening = f'<{tag} {rdf.sibling("about")}="">'.encode()
        content = opening + _new_subject(rdf.dc, rdf, added, b"") + f"</{tag}>".encode()
        return [*edits, _insert(data, rdf, content)], added
    lead = _line_start(data, target.inside)
    content = _new_subject(target.dc, rdf, [*_subjects(rdf), *added], lead)
    edits.append(_insert(data, target, content))
    if holder is not None:
        edits.append(_without_subject(data, holder))
    return edits, added


def _missing(keywords: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """Return the keywords that are not known yet, each once."""
    seen = {_folded(each) for each in known}
    new: dict[str, str] = {}
    for each in keywords:
        if _folded(each) not in seen:
            new.setdefault(_folded(each), each)
    return tuple(new.values())


def _folded(keyword: str) -> str:
    return unicodedata.normalize("NFC", keyword.strip()).casefold()


def _list_of(element: _Element) -> _Element | None:
    """Return the list in a property; None if it has none."""
    return next((each for each in element.children if each.name in _LISTS), None)


def _items(element: _Element) -> list[str]:
    """Return the values of a property, which is a list or one text."""
    values = _list_of(element)
    if values is None:
        return [element.text] if element.text else []
    return [each.text for each in values.children if each.name == (RDF, "li")]


def _longer(data: bytes, element: _Element, rdf: _Element, keywords: Sequence[str]) -> list[Edit]:
    """Return the edit that adds keywords to a property."""
    values = _list_of(element)
    if not keywords:
        return []
    if values is not None:
        items = values.children
        lead = _space_before(data, items[-1].start) if items else b""
        lines = b"".join(lead + _item(values, each) for each in keywords)
        if not items:
            return [_insert(data, values, lines)]
        end = _after(data, items[-1])
        return [(end, end, lines)]
    if element.children or element.attributes:
        raise QvsearchError(UNUSUAL)
    # one text in the place of a list: it becomes the first of the list, in an element of its own
    lead = _space_before(data, element.start)
    content = _new_subject("", rdf, [*_items(element), *keywords], lead)
    return [(element.start, _after(data, element), content[len(lead) :])]


def _new_subject(dc: str, rdf: _Element, keywords: Sequence[str], lead: bytes) -> bytes:
    """Return a new dc:subject, given a prefix of DC that is in scope, if any.

    `lead` is the white space that begins a line of it.
    """
    declared = b"" if dc else f' xmlns:dc="{DC}"'.encode()
    subject, bag = f"{dc or 'dc'}:subject".encode(), rdf.sibling("Bag").encode()
    step = lead and b" "
    parts = [
        b"%s<%s%s>" % (lead, subject, declared),
        b"%s%s<%s>" % (lead, step, bag),
        *(b"%s%s%s" % (lead, 2 * step, _item(rdf, each)) for each in keywords),
        b"%s%s</%s>" % (lead, step, bag),
        b"%s</%s>" % (lead, subject),
    ]
    return b"".join(parts)


def _item(relative: _Element, keyword: str) -> bytes:
    tag = relative.sibling("li")
    return f"<{tag}>{escape(keyword)}</{tag}>".encode()


def _insert(data: bytes, element: _Element, content: bytes) -> Edit:
    """Return the edit that puts content first into an element, empty or not."""
    tag = data[element.start : element.inside]
    if not tag.endswith(b"/>"):
        return element.inside, element.inside, content
    closing = f"</{element.sibling(element.name[1])}>".encode()
    return element.inside - 2, element.inside, b">" + content + closing


def _without_subject(data: bytes, element: _Element) -> Edit:
    """Return the edit that takes the attribute dc:subject out of a start tag."""
    prefix = re.escape(element.attributes[SUBJECT][0].encode())
    attribute = re.compile(rb"""(?<=\s)%s:subject\s*=\s*(?:"[^"]*"|'[^']*')""" % prefix)
    return *_span(attribute.search(data, element.start, element.inside)), b""


def _span(match: re.Match[bytes] | None) -> tuple[int, int]:
    """Return the place of something that expat has found there."""
    if match is None:
        raise QvsearchError(UNUSUAL)
    return match.span()


def _after(data: bytes, element: _Element) -> int:
    """Return the place after a whole element."""
    if data[element.start : element.inside].endswith(b"/>"):
        return element.inside
    return data.index(b">", element.end) + 1


def _space_before(data: bytes, place: int) -> bytes:
    before = data[:place]
    return before[len(before.rstrip()) :]


def _line_start(data: bytes, place: int) -> bytes:
    """Return the end of line and the indent at a place in a layout of lines; else nothing."""
    _, end = _span(_SPACE.match(data, place))
    newline = data.rfind(b"\n", place, end)
    if newline < 0:
        return b""
    returned = b"\r" if data[newline - 1 : newline] == b"\r" else b""
    closing = data.startswith(b"</", end)
    return returned + data[newline:end] + b" " * closing


def _parse(data: bytes) -> _Element:
    """Return the RDF of a document; raises QvsearchError for entities, damage or no RDF."""
    parser = expat.ParserCreate("utf-8", _SEPARATOR)
    parser.namespace_prefixes = True
    parser.buffer_text = True
    outline = _Outline(data, parser)
    parser.StartElementHandler = outline.start
    parser.EndElementHandler = outline.end
    parser.CharacterDataHandler = outline.text
    parser.StartNamespaceDeclHandler = outline.declare
    parser.EndNamespaceDeclHandler = outline.undeclare
    parser.StartDoctypeDeclHandler = _refuse
    parser.XmlDeclHandler = _check_encoding
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        reason = expat.errors.messages[error.code]
        raise QvsearchError(f"it is not XMP: line {error.lineno}: {reason}") from error
    if outline.rdf is None:
        raise QvsearchError("it is not XMP: it has no rdf:RDF")
    return outline.rdf


def _refuse(*_: object) -> None:
    """Refuse a document type, which could define entities of any size."""
    raise QvsearchError("it is not XMP: it has a document type")


def _check_encoding(_version: str, encoding: str | None, _standalone: int) -> None:
    """Refuse a declared encoding in which added keywords would be other letters."""
    if encoding is not None and not encoding.lower().startswith(("utf-8", "utf-16")):
        raise QvsearchError(f"it is text in {encoding}; only UTF-8 and UTF-16 are written")


class _Outline:
    """Collects the elements of the first rdf:RDF, down to items of lists, while expat reads."""

    def __init__(self, data: bytes, parser: expat.XMLParserType) -> None:
        self.rdf: _Element | None = None
        self._data, self._parser = data, parser
        self._open: list[_Element] = []  # within rdf:RDF, itself first
        self._deeper = 0  # open elements below those
        self._dc: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        own, prefix = _split(name)
        if self._deeper or len(self._open) == _DEPTH:
            self._deeper += 1
            return
        if not self._open and (own != (RDF, "RDF") or self.rdf is not None):
            return
        place = self._parser.CurrentByteIndex
        _, inside = _span(_TAG.match(self._data, place))
        named = {_split(key): value for key, value in attributes.items()}
        values = {key: (prefix, value) for (key, prefix), value in named.items()}
        dc = self._dc[-1] if self._dc else ""
        element = _Element(own, prefix, place, inside, values, dc)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.rdf = element
        self._open.append(element)

    def end(self, _: str) -> None:
        if self._deeper:
            self._deeper -= 1
        elif self._open:
            self._open.pop().end = self._parser.CurrentByteIndex

    def text(self, text: str) -> None:
        if self._open and not self._deeper:
            self._open[-1].texts.append(text)

    def declare(self, prefix: str | None, uri: str | None) -> None:
        if uri == DC and prefix:
            self._dc.append(prefix)

    def undeclare(self, prefix: str | None) -> None:
        if prefix in self._dc:
            self._dc.remove(prefix)


def _split(name: str) -> tuple[Name, str]:
    """Return the namespace and local name, and the prefix, of a name as expat has it."""
    match name.split(_SEPARATOR):
        case [uri, local, prefix]:
            return (uri, local), prefix
        case [uri, local]:
            return (uri, local), ""
    return ("", name), ""
