"""Keywords in sidecars: added once, with everything else as it was, and nothing lost."""

import errno
import os
import shutil
import stat
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.faulty_disk import failing

from qvsearch.errors import QvsearchError
from qvsearch.media.companion import completed
from qvsearch.tasks.labelling.sidecars import Sidecar, add_keywords
from qvsearch.tasks.labelling.xmp import EMPTY, with_keywords
from qvsearch.types import Item, Kind, Metadata, Skipped

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
DC = "{http://purl.org/dc/elements/1.1/}"
LR = "{http://ns.adobe.com/lightroom/1.0/}"

DARKTABLE = """<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/"
    xmlns:darktable="http://darktable.sf.net/"
   xmp:Rating="4"
   darktable:note="a &gt; b"
   darktable:xmp_version="5">
   <!-- edited by hand -->
   <dc:subject>
    <rdf:Bag>
     <rdf:li>holiday</rdf:li>
     <rdf:li>Cat</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <lr:hierarchicalSubject>
    <rdf:Bag>
     <rdf:li>animal|Cat</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
   <darktable:history>
    <rdf:Seq>
     <rdf:li darktable:params="gz04e\nJx'&quot;"/>
    </rdf:Seq>
   </darktable:history>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""
LIGHTROOM = (
    "<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>\r\n"
    "<x:xmpmeta xmlns:x='adobe:ns:meta/'><r:RDF"
    " xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>\r\n"
    "<r:Description r:about='' xmlns:crs='http://ns.adobe.com/camera-raw-settings/1.0/'"
    " crs:Exposure='+1.0' crs:Text='a>b'/>\r\n"
    "</r:RDF></x:xmpmeta>\r\n" + " " * 200 + "<?xpacket end='w'?>"
)


def keywords(document, name=f"{DC}subject"):
    """The keywords of a document, read by another parser."""
    root = ET.fromstring(document)
    return [item.text for subject in root.iter(name) for item in subject.iter(f"{RDF}li")]


def without_keywords(document):
    """All the rest of a document: elements, attributes and texts, in order."""
    root = ET.fromstring(document)
    for each in root.iter():
        for child in [c for c in each if c.tag in (f"{DC}subject", f"{LR}hierarchicalSubject")]:
            each.remove(child)
    return [
        (each.tag, each.attrib, (each.text or "").strip(), (each.tail or "").strip())
        for each in root.iter()
    ]


@pytest.mark.parametrize("text", [DARKTABLE, LIGHTROOM, EMPTY.decode()])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_all_else_stays(text, encoding):
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    if encoding.startswith("utf-16"):
        text = text.replace(' encoding="UTF-8"', "")
    before = mark + text.encode(encoding)
    after, added = with_keywords(before, ["dog", "cat", "a & <b>"])
    plain = after[len(mark) :].decode(encoding)
    assert keywords(plain)[-2:] == ["cat", "a & <b>"] or "Cat" in keywords(plain)
    assert set(added) <= set(keywords(plain))
    assert without_keywords(plain) == without_keywords(text)
    assert with_keywords(after, ["DOG", "cat"]) == (after, ())
    # without what was added the very characters are there
    new = [line for line in plain.splitlines(keepends=True) if line not in text]
    assert plain == text or "".join(new).count("<") >= len(added)


def test_only_lines_are_added_to_a_list():
    after, added = with_keywords(DARKTABLE.encode(), ["dog", "cat"])
    assert added == ("dog",)
    lines, before = after.decode().splitlines(), DARKTABLE.splitlines()
    assert [line for line in lines if line not in before] == ["     <rdf:li>dog</rdf:li>"] * 2
    assert keywords(after) == ["holiday", "Cat", "dog"]
    assert keywords(after, f"{LR}hierarchicalSubject") == ["animal|Cat", "dog"]


def test_a_description_of_attributes_gets_an_element():
    after, _ = with_keywords(LIGHTROOM.encode(), ["dog"])
    start, end = after.decode().split("<dc:subject", 1)
    assert start.rstrip()[:-1] + "/>" + end.split("</r:Description>")[1] == LIGHTROOM
    assert keywords(after) == ["dog"]


@pytest.mark.parametrize(
    "subject",
    [
        " xmlns:d='http://purl.org/dc/elements/1.1/' d:subject='old'/>",
        "><s:subject xmlns:s='http://purl.org/dc/elements/1.1/'>old</s:subject></r:Description>",
        "><s:subject xmlns:s='http://purl.org/dc/elements/1.1/'><r:Seq><r:li>old</r:li></r:Seq>"
        "</s:subject></r:Description>",
    ],
)
def test_other_ways_to_write_a_keyword_become_or_stay_a_list(subject):
    start = "<r:RDF xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><r:Description"
    after, added = with_keywords(f"{start}{subject}</r:RDF>".encode(), ["new", "old"])
    assert (added, keywords(after)) == (("new",), ["old", "new"])


def test_a_keyword_in_a_part_of_another_picture_is_not_this_one():
    document = (
        "<r:RDF xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#'"
        " xmlns:dc='http://purl.org/dc/elements/1.1/'><r:Description><i:Ingredient xmlns:i='i'>"
        "<r:Description><dc:subject><r:Bag><r:li>dog</r:li></r:Bag></dc:subject></r:Description>"
        "</i:Ingredient></r:Description></r:RDF>"
    )
    after, added = with_keywords(document.encode(), ["dog"])
    assert added == ("dog",)
    assert keywords(after) == ["dog", "dog"]


ENTITIES = (
    "<!DOCTYPE a [<!ENTITY b 'c'>]><r:RDF xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "line 1: no element found"),
        (DARKTABLE.encode()[:500], "line"),
        (b"<a/>", "no rdf:RDF"),
        (f"{ENTITIES}&b;</r:RDF>".encode(), "document type"),
        (b"\xff\xfe\xff", "UTF-16"),
        (b"\x89PNG\r\n", "UTF-8"),
        (DARKTABLE.replace("UTF-8", "ISO-8859-1").encode(), "text in ISO-8859-1"),
        (DARKTABLE.replace("<rdf:Bag>", "<rdf:Bag><x:y>", 1).encode(), "mismatched"),
        (DARKTABLE.replace("rdf:Bag>", "x:bag>").encode(), "unusual"),
    ],
)
def test_what_is_not_xmp_is_refused_with_its_reason(document, reason):
    with pytest.raises(QvsearchError, match=reason):
        with_keywords(document, ["dog"])


def test_long_white_space_takes_no_long_time():
    space = " " * 500_000
    rdf = f"<r:RDF xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#'{space}>"
    dc = f"xmlns:d='http://purl.org/dc/elements/1.1/'{space}"
    for inner in (
        f"<r:Description>\n{space}\n{space}</r:Description>",
        f"<r:Description {dc} d:subject='old'{space}/>",
        f"<r:Description {dc}><d:subject>{space}\n{space}</d:subject></r:Description>",
        f"<r:Description {dc}><d:subject><r:Bag>{space}</r:Bag></d:subject></r:Description>",
    ):
        after, added = with_keywords(f"{rdf}{inner}</r:RDF>".encode(), ["new"])
        assert added == ("new",)
        assert keywords(after)[-1] == "new"


@given(
    st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1), max_size=5),
    st.sampled_from([DARKTABLE, LIGHTROOM, EMPTY.decode()]),
)
def test_any_words_arrive_and_come_only_once(words, text):
    after, added = with_keywords(text.encode(), words)
    assert keywords(after)[len(keywords(text)) :] == list(added)
    assert with_keywords(after, words) == (after, ())
    assert without_keywords(after) == without_keywords(text)


def picture(folder, name="a.jpg"):
    (folder / name).write_bytes(b"pixels")
    return os.fsencode(folder / name)


def add(media, *words, dry_run=False):
    return add_keywords(media, words, dry_run=dry_run)


def test_a_new_sidecar_is_read_by_exiftool(tmp_path):
    media = picture(tmp_path, "ü \u202e 'x'.jpg")
    added = add(media, "cat", "a night sky")
    assert added == Sidecar(media + b".xmp", ("cat", "a night sky"), True)
    assert add(media, "cat") == Sidecar(media + b".xmp", (), False)
    if shutil.which("exiftool"):
        command = ["exiftool", "-b", "-sep", "|", "-Subject", os.fsdecode(added.path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "cat|a night sky"
    assert (tmp_path / os.fsdecode(os.path.basename(media))).read_bytes() == b"pixels"
    assert sorted(os.listdir(os.fsencode(tmp_path))) == sorted(
        [os.path.basename(media), os.path.basename(media) + b".xmp"]
    )


@pytest.mark.parametrize(
    ("names", "written"),
    [
        ([], "a.jpg.xmp"),
        (["a.xmp"], "a.xmp"),
        (["A.XMP"], "A.XMP"),
        (["a.xmp", "a.cr2"], "a.jpg.xmp"),
        (["a.xmp", "a.mov"], "a.jpg.xmp"),
        (["a.xmp", "a.txt"], "a.xmp"),
        (["a.xmp", "a.jpg.xmp"], "a.jpg.xmp"),
        (["a.jpg.XMP"], "a.jpg.XMP"),
    ],
)
def test_the_sidecar_is_that_of_the_file(tmp_path, names, written):
    for name in names:
        text = DARKTABLE if name.lower().endswith(".xmp") else "raw"
        (tmp_path / name).write_text(text)
    before = {name: (tmp_path / name).read_bytes() for name in names}
    sidecar = add(picture(tmp_path), "dog")
    assert sidecar == Sidecar(os.fsencode(tmp_path / written), ("dog",), written not in names)
    assert "dog" in keywords((tmp_path / written).read_bytes())
    for name in set(names) - {written}:
        assert (tmp_path / name).read_bytes() == before[name]


def test_the_mode_stays_and_a_dry_run_writes_nothing(tmp_path):
    media, sidecar = picture(tmp_path), tmp_path / "a.jpg.xmp"
    assert add(media, "dog", dry_run=True).added == ("dog",)
    assert not sidecar.exists()
    sidecar.write_text(DARKTABLE)
    sidecar.chmod(0o600)
    assert add(media, "dog", dry_run=True).added == ("dog",)
    assert sidecar.read_text() == DARKTABLE
    add(media, "dog")
    assert stat.S_IMODE(sidecar.stat().st_mode) == 0o600


def test_what_cannot_be_written_is_named_and_stays(tmp_path, monkeypatch):
    media, sidecar = picture(tmp_path), tmp_path / "a.jpg.xmp"
    sidecar.write_text("broken")
    assert isinstance(add(media, "dog"), Skipped)
    assert sidecar.read_text() == "broken"
    sidecar.unlink()
    (tmp_path / "elsewhere.xmp").write_text(DARKTABLE)
    sidecar.symlink_to(tmp_path / "elsewhere.xmp")
    assert "link" in add(media, "dog").reason
    assert (tmp_path / "elsewhere.xmp").read_text() == DARKTABLE
    sidecar.unlink()
    sidecar.mkdir()
    assert "directory" in add(media, "dog").reason
    sidecar.rmdir()
    monkeypatch.setattr("qvsearch.tasks.labelling.sidecars.LARGEST", 10)
    sidecar.write_text(DARKTABLE)
    assert "larger" in add(media, "dog").reason


def test_a_sidecar_that_another_program_changes_meanwhile_is_left_alone(tmp_path, monkeypatch):
    media, sidecar = picture(tmp_path), tmp_path / "a.jpg.xmp"
    sidecar.write_text(DARKTABLE)

    def changed_meanwhile(document, words):
        sidecar.write_text(LIGHTROOM)
        return with_keywords(document, words)

    monkeypatch.setattr("qvsearch.tasks.labelling.sidecars.with_keywords", changed_meanwhile)
    assert "another program" in add(media, "dog").reason
    assert sidecar.read_text() == LIGHTROOM.replace("\r\n", "\n")


def test_a_folder_that_refuses_is_named(tmp_path, disk):
    media = picture(tmp_path)
    (tmp_path / "a.jpg.xmp").write_text(DARKTABLE)
    for at, number in enumerate((errno.EACCES, errno.ENOSPC, errno.EIO, errno.EACCES), 1):
        disk.steps.clear()
        disk.at, disk.act = at, failing(number)
        outcome = add(media, "dog")
        assert isinstance(outcome, Skipped)
        assert outcome.path == media + b".xmp"
        assert (tmp_path / "a.jpg.xmp").read_text() == DARKTABLE
    assert sorted(os.listdir(tmp_path)) == ["a.jpg", "a.jpg.xmp"]


def test_a_new_sidecar_hides_no_date_of_the_other(tmp_path):
    date = DARKTABLE.replace('xmp:Rating="4"', 'photoshop:DateCreated="2020-05-06"')
    (tmp_path / "a.xmp").write_text(date)
    picture(tmp_path, "a.cr2")
    media = picture(tmp_path)
    item = Item(media, b"", Kind.IMAGE, 6, 0)
    before = completed(Metadata(), item)
    assert before.taken == "2020-05-06"
    assert add(media, "dog").path == media + b".xmp"
    keywords = ("dog", *(before.keywords or ()))
    assert completed(Metadata(), item) == replace(before, keywords=keywords)
