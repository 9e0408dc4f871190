"""Messages (.eml) and saved web pages (.mhtml): their text; attachments are only named."""

from __future__ import annotations

import re
from dataclasses import replace
from email import message_from_bytes
from email.errors import HeaderParseError, MessageError
from email.header import decode_header
from email.message import Message
from typing import BinaryIO

from qvsearch.errors import MediaError
from qvsearch.media.dates import letter_date
from qvsearch.media.encoding import as_named, to_text
from qvsearch.media.office.contents import Contents, Line, field, section_of
from qvsearch.media.office.html import read_page
from qvsearch.types import NO_METADATA

MOST_BYTES = 64 * 2**20  # of a message with its attachments
MOST_PARTS = 1000
_BROWSER = re.compile(r"\W*Saved by ")  # as the sender of a page that it saved
HEADERS = ("From", "To", "Cc", "Date", "Subject")


def read(file: BinaryIO) -> Contents:
    """Read a message; raises MediaError."""
    data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise MediaError(f"too large: a message of more than {MOST_BYTES / 2**20:.0f} MiB")
    try:
        return _read(message_from_bytes(data))
    except RecursionError as error:
        raise MediaError("damaged: its parts are nested too deep") from error
    except (MessageError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise MediaError("damaged: not a message of e-mail") from error


def _read(message: Message) -> Contents:
    headers = {name: _header(message, name) for name in HEADERS}
    if not any(headers.values()) and not message.is_multipart():
        raise MediaError("not a message of e-mail: it has no sender, date or subject")
    section = section_of(headers["Subject"])
    title, author = headers["Subject"], headers["From"]
    lines: list[Line] = []
    if "related" in message.get_content_type() and (not author or _BROWSER.match(author)):
        author = ""  # a saved page has headers for nobody to read
    else:
        lines = [(section, f"{name}: {value}") for name, value in headers.items() if value]
    plain, pages, attached = _parts(message)
    if any(text.strip() for text in plain):
        lines += [(section, line) for text in plain for line in ("", *text.splitlines())]
    else:
        for data, encoding in pages:
            page = read_page(data, encoding)
            lines += [(each or section, line) for flow in page.flows for each, line in flow]
            title = title or page.metadata.title or ""
            author = author or page.metadata.author or ""
    if attached:
        lines.append((section, f"attachments: {', '.join(attached)}"))
    metadata = replace(
        NO_METADATA,
        title=field(title),
        author=field(author),
        taken=letter_date(headers["Date"]),
    )
    return Contents([lines], metadata)


def _parts(message: Message) -> tuple[list[str], list[tuple[bytes, str | None]], list[str]]:
    """Return the plain texts, the pages with their encodings, and the names of attachments."""
    plain, pages, attached = [], [], []
    for number, part in enumerate(message.walk()):
        if number == MOST_PARTS:
            break
        name = part.get_filename()
        if name is not None or part.get_content_disposition() == "attachment":
            attached.append(field(_decoded(name or "")) or "without a name")
        elif part.get_content_type() == "text/plain":
            plain.append(_text(part))
        elif part.get_content_type() == "text/html":
            pages.append((_content(part), part.get_content_charset()))
    return plain, pages, attached


def _content(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _text(part: Message) -> str:
    content = _content(part)
    text = as_named(content, part.get_content_charset() or "ascii")
    if text is None:
        return to_text(content) if content else ""
    return text


def _header(message: Message, name: str) -> str:
    return _decoded(str(message.get(name, "")))


def _decoded(text: str) -> str:
    """Return a header without its encoded words, as it stands if they are invalid."""
    try:
        parts = decode_header(text)
        text = "".join(
            part if isinstance(part, str) else part.decode(encoding or "utf-8", "replace")
            for part, encoding in parts
        )
    except (HeaderParseError, LookupError, ValueError):
        pass
    return text.encode(errors="replace").decode()  # UTF-7 may name halves of characters
