"""Reads a gallery as a browser does, and notes what a safe, whole page must have or not have."""

import base64
import io
from html.parser import HTMLParser
from urllib.parse import unquote_to_bytes

from PIL import Image

LOADING = {"src", "srcset", "poster", "data", "action", "formaction", "background", "ping"}
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Reader(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.links, self.images, self.loaded = [], [], [], []
        self.open, self.texts, self.metas, self.styles = [], [], {}, []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        assert len(values) == len(attributes), "an attribute is there twice"
        assert not [name for name in values if name.startswith("on") or name == "style"]
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.loaded += [values[name] for name in LOADING & values.keys()]
        if tag == "a":
            self.links.append(values["href"])
        elif tag == "img":
            self.images.append((picture_of(values["src"]), values["alt"]))
        elif tag == "meta":
            self.metas[values.get("name", values.get("http-equiv"))] = values.get("content")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open and self.open[-1] == "style":
            self.styles.append(text)
        elif text.strip():
            self.texts.append(text.strip())


def picture_of(source):
    kind, data = source.split(",", 1)
    assert kind == "data:image/webp;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    picture.load()
    return picture.convert("RGB")


def read(path):
    """Return what is on a page; fails for one that is not whole, safe and self-contained."""
    reader = Reader()
    reader.feed(path.read_bytes().decode("utf-8"))
    reader.close()
    assert reader.open == []
    forbidden = {"script", "link", "iframe", "object", "embed", "base", "form", "svg", "template"}
    assert not forbidden & set(reader.tags)
    assert all(each.startswith("data:image/webp;base64,") for each in reader.loaded)
    assert all(each.startswith("file:///") for each in reader.links)
    assert "url(" not in reader.styles[0]
    assert "@import" not in reader.styles[0]
    return reader


def paths_of(reader):
    """The exact paths of the links, with their moments."""
    parts = [each.removeprefix("file://").partition("#") for each in reader.links]
    return [(unquote_to_bytes(path), moment) for path, _, moment in parts]
