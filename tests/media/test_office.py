"""Documents of words: each passage has the text that its program shows, and its place."""

import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from xml.sax.saxutils import quoteattr

import pytest
from support import office_files as made

from qvsearch import media
from qvsearch.errors import MediaError
from qvsearch.media import text as texts
from qvsearch.media.office.contents import MOST_ROWS
from qvsearch.media.office.drawings import MOST_LABELS
from qvsearch.media.office.package import MOST_DRAWN
from qvsearch.media.workers import Decoders
from qvsearch.types import Decoded, DecodeOptions, Item, Kind, kind_of

EXAMPLES = made.examples()


def item_of(path):
    status = path.stat()
    kind = kind_of(os.fsencode(path))
    return Item(os.fsencode(path), b"", kind, status.st_size, status.st_mtime_ns)


def decode(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    return [
        (segment, input_.text)
        for segment, input_ in media.decode(item_of(path), "", DecodeOptions(1)).segments
    ]


def places(tmp_path, name, content):
    return [(each.section, text) for each, text in decode(tmp_path, name, content)]


EXPECTED = {
    "a.docx": [
        ("Rent", "Rent\nIt is due.\nName: Ann; Age: 41"),
        ("footnotes", "See the annex."),
        ("comments", "Is it so?"),
    ],
    "a.pptx": [
        ("slide 1", "Welcome\none\nnotes: Smile."),
        ("slide 2 (hidden)", "Thanks"),
    ],
    "a.xlsx": [
        ("sheet Budget", "Item: Rent & gas; Cost: 0.3; 2024-03-05 12:00"),
        ("sheet hidden one (hidden)", "secret"),
    ],
    "a.odt": [("Plan", "Plan\nfootnote: A note.\nFirst   line\nName: Ann; Age: 41")],
    "a.ods": [("sheet Budget", "Item\nRent"), ("sheet Other", "X")],
    "a.odp": [("slide 1", "Welcome\nnotes: Smile."), ("slide 2", "Thanks")],
    "a.epub": [("Economy", "Economy\nWords \xa0here")] * 2,
    "a.html": [
        (
            "Tides – Ports",
            "Tides\nThe moonlight pulls.\n\nTwice a day.\n\n\nPorts\nPort: Brest; Height: 7 m\n"
            "one\ntwo\na\n  b",
        )
    ],
    "a.eml": [
        (
            "Miete für März",
            "From: Zoë <zoe@example.org>\nTo: ann@example.org\n"
            "Date: Tue, 05 Mar 2024 10:20:30 +0100\nSubject: Miete für März\n\n"
            "The rent is 1,234€.\nattachments: bill.pdf",
        )
    ],
    "a.mhtml": [("Tides", "Tides\nHigh water")],
    "a.rtf": [(None, "Hello bold При €😀\nSecond\tline\\ {end}")],
    "a.ipynb": [("cell 1 – cell 2", "# A title\nimport x\n42\n\nprint(1)\n1")],
}


@pytest.mark.parametrize(
    ("name", "part", "section"),
    [
        ("a.docx", "word/document.xml", "figures"),
        ("a.pptx", "ppt/slides/slide2.xml", "slide 1"),
        ("a.xlsx", "xl/worksheets/sheet0.xml", "sheet Budget"),
    ],
)
def test_words_of_charts_and_diagrams_are_read(tmp_path, name, part, section):
    folder, base = os.path.split(part)
    drawn = {"c": ("chart", "/chart1.xml"), "d": ("diagramData", "/data1.xml")}
    parts = {
        "chart1.xml": made.chart("Tides of 2024", "Height", "Brest", "Ostend"),
        "data1.xml": made.slide("from here", "to there"),
    }
    if name == "a.xlsx":  # a sheet has them in a drawing, which also has its text boxes
        parts["xl/drawings/drawing1.xml"] = made.slide("in a box")
        parts["xl/drawings/_rels/drawing1.xml.rels"] = made.relationships(**drawn)
        drawn = {"x": ("drawing", "../drawings/drawing1.xml")}
    parts[f"{folder}/_rels/{base}.rels"] = made.relationships(**drawn)
    found = dict(places(tmp_path, name, made.added(EXAMPLES[name], parts)))
    box = "in a box\n" if name == "a.xlsx" else ""
    words = f"{box}Tides of 2024\nHeight; Brest; Ostend\nfrom here\nto there"
    assert found[section].endswith(words)


def test_whole_files_in_a_word_document_are_read(tmp_path):
    inner = drawn_in_a_text()
    chunks = {
        "page.mht": EXAMPLES["a.mhtml"],
        "page.HTM": b"<h1>Harbours</h1><p>Low water",
        "plain.txt": "Grüße".encode(),
        "flat.xml": b"<w:document>markup</w:document>",
        "inner.docx": inner,
        "broken.docx": b"no document",
        "twice.docm": made.added(inner, {"word/_rels/document.xml.rels": chunked("inner.docx")}),
    }
    data = made.added(
        made.docx(made.paragraph("Outside")),
        {"word/_rels/document.xml.rels": chunked(*chunks), **chunks},
    )
    found = [words for _, words in places(tmp_path, "a.docx", data)]
    assert found == ["Outside", "Tides\nHigh water", "Harbours\nLow water", "Grüße"] + 2 * [
        "Beside"
    ]


def test_files_within_a_word_document_that_are_too_large_cost_only_themselves(tmp_path):
    large = b"<p>" + b"of many words " * (11 * 2**20 // 14)
    chunks = {"a.html": b"<p>small", "b.html": large, "c.html": bytes(257 * 2**20), "d.txt": b"end"}
    links = {"word/_rels/document.xml.rels": chunked(*chunks, *["a.html"] * 30)}
    data = made.added(made.docx(made.paragraph("Outside")), links | chunks)
    assert [words for _, words in places(tmp_path, "a.docx", data)] == ["Outside", "small", "end"]


def chunked(*names):
    """Return the relationships of a Word document that has these files within."""
    return made.relationships(**{f"c{n}": ("aFChunk", f"/{name}") for n, name in enumerate(names)})


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_older_versions_read_otherwise_is_reviewed(tmp_path, name):
    path = tmp_path / name
    drawn = {"word/charts/chart1.xml": made.chart("Tides", "Height")}
    has_sections = name in ("a.html", "a.ipynb")
    files = [(EXAMPLES[name], [name == "a.rtf" or has_sections, has_sections, False])]
    if name.endswith((".docx", ".pptx", ".xlsx")):
        files.append((made.added(EXAMPLES[name], drawn), [True, False, False]))
    if name == "a.docx":
        chunk = {"word/_rels/document.xml.rels": chunked("a.html"), "a.html": EXAMPLES["a.html"]}
        files.append((made.added(EXAMPLES[name], chunk), [True, True, False]))
    if name == "a.xlsx":
        amounts = '<cellXfs><xf numFmtId="4"/></cellXfs>'
        cells = made.row('<c s="0"><v>1234.5</v></c>')
        files.append((made.xlsx({"A": [cells]}, styles=amounts), [True, True, True]))
    for data, differs in files:
        path.write_bytes(data)
        item = Item(os.fsencode(path), b"", Kind.TEXT, len(data), 0)
        with path.open("rb") as file:
            assert [texts.reads_otherwise(file, item, since) for since in (2, 3, 4)] == differs


def drawn_in_a_text(**parts):
    """Return a text of one word that names parts, each by its type."""
    targets = {type_: (type_, f"/{type_}.xml") for type_ in parts}
    more = {f"{type_}.xml": content for type_, content in parts.items()}
    links = {"word/_rels/document.xml.rels": made.relationships(**targets)}
    return made.added(made.docx(made.paragraph("Beside")), links | more)


def test_a_chart_of_many_labels_does_not_flood_a_document(tmp_path):
    labels = [f"label {number}" for number in range(50_000)]
    found = places(tmp_path, "a.docx", drawn_in_a_text(chart=made.chart("Tides", *labels)))
    words = "\n".join(text for section, text in found if section == "figures")
    assert words.startswith("Tides\nlabel 0; label 1; ")
    assert words.count("label") == MOST_LABELS


@pytest.mark.parametrize("type_", ["chart", "diagramData", "drawing"])
def test_a_drawing_that_cannot_be_read_does_not_cost_the_text_beside_it(tmp_path, type_):
    whole = made.chart("Tides", "Height", "Brest").encode()
    for content in (whole[:-40], whole + b" " * MOST_DRAWN):
        data = drawn_in_a_text(**{type_: content}, comments=made.slide("a remark"))
        assert places(tmp_path, "a.docx", data)[-1] == ("comments", "a remark")
        assert places(tmp_path, "a.docx", data)[0][1] == "Beside"


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_format_has_its_words_and_places(tmp_path, name):
    assert places(tmp_path, name, EXAMPLES[name]) == EXPECTED[name]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("a.docx", ("Annual report", "Zoë Grün", "2024-03-05T10:20:30+00:00", ("rent", "tax"))),
        ("a.odt", ("Annual report", "Zoë Grün", "2024-03-05T10:20:30", None)),
        ("a.epub", ("Walden", "H. D. Thoreau", "1985", None)),
        ("a.html", ("The sea", "Zoë Grün", None, None)),
        ("a.eml", ("Miete für März", "Zoë <zoe@example.org>", "2024-03-05T10:20:30+01:00", None)),
        ("a.rtf", ("Notes", "Ann", None, None)),
        ("a.ipynb", ("A title", None, None, None)),
    ],
)
def test_titles_authors_dates_and_keywords_are_fields(tmp_path, name, fields):
    metadata = decode(tmp_path, name, EXAMPLES[name])[0][0].metadata
    assert (metadata.title, metadata.author, metadata.taken, metadata.keywords) == fields


def test_embedded_pictures_are_counted(tmp_path):
    assert decode(tmp_path, "a.docx", EXAMPLES["a.docx"])[0][0].metadata.pictures == 1
    assert decode(tmp_path, "a.pptx", EXAMPLES["a.pptx"])[0][0].metadata.pictures is None


def test_the_preview_of_a_document_is_no_picture_in_it(tmp_path):
    preview = {"docProps/thumbnail.jpeg": b"\xff\xd8", "Thumbnails/thumbnail.png": b"\x89PNG"}
    found = decode(tmp_path, "a.docx", made.docx(made.paragraph("words"), preview))
    assert found[0][0].metadata.pictures == 1


def test_control_words_of_rich_text_with_capitals_are_no_text(tmp_path):
    table = rb"{\rtf1\trowd\trftsWidth1\trftsWidthB3\clftsWidth3 one\cell two\cell\row after\par}"
    assert places(tmp_path, "a.rtf", table) == [(None, "one | two\nafter")]


def test_a_font_for_double_bytes_is_not_that_of_other_letters(tmp_path):
    text = (
        rb"{\rtf1\ansi\ansicpg1252\uc2{\fonttbl{\f0 Times;}{\f13\fcharset128 Mincho;}"
        rb"{\f2\fcharset204 Arial;}}\loch\f0\hich\f0\dbch\f13 r\'e9sum\'e9 \u26085\'93\'fa"
        b" {\\f2\\dbch\r\n\\f13"
        rb"\'d3\'e2\'e0\'e6} {\dbch\af0\loch\f13 \'83]\'83\'8b}\par}"
    )
    assert places(tmp_path, "a.rtf", text) == [(None, "résumé 日 Уваж ゾル")]


def test_letters_of_rich_text_are_those_of_its_font(tmp_path):
    text = (
        rb"{\rtf1\ansi\ansicpg1252\deff1{\fonttbl{\f0\fnil\fcharset0 Calibri;}"
        rb"{\f1\fnil\fcharset238 Calibri;}{\f2\fcharset204 Arial;}{\f3\fcharset128 Mincho;}}"
        rb"\'c8l\'e1nek {\f0 \'c8t\'e9} \'9eid {\f2\'d3\'e2\'e0\'e6} "
        rb"\f3\'83]\'83\'8b\plain \'e8as\par}"
    )
    assert places(tmp_path, "a.rtf", text) == [(None, "Článek Èté žid Уваж ゾルčas")]


def test_no_passage_spans_two_slides_and_long_text_is_cut(tmp_path):
    long = " ".join(f"word{number}" for number in range(900))
    found = places(tmp_path, "a.pptx", made.pptx([made.slide(long), made.slide("End")], "n"))
    assert {section for section, _ in found[:-1]} == {"slide 1"}
    assert len(found) > 3
    assert found[-1] == ("slide 2", "End")
    assert {f"word{number}" for number in range(900)} <= set(" ".join(t for _, t in found).split())


def test_the_end_of_another_section_before_a_passage_is_not_its_place(tmp_path):
    body = "".join(
        made.paragraph(f"Chapter {number}", "berschrift1")
        + "".join(made.paragraph(f"fact {number} " * 12) for _ in range(14))
        for number in range(5)
    )
    for section, text in places(tmp_path, "a.docx", made.docx(body))[:-2]:
        number = max("01234", key=lambda each: text.count(f"fact {each}"))
        assert section == f"Chapter {number}"


def test_a_word_is_in_a_section_that_its_passage_names(tmp_path):
    headings = [f"Heading {number:02}" for number in range(12)]
    page = "".join(f"<h2>{each}</h2><p>{each[-2:]}th word {'filler ' * 60}" for each in headings)
    found = places(tmp_path, "a.html", page.encode())
    assert len(found) < len(headings)
    for section, text in found:
        names = section.split(" – ")
        inside = [each for each in headings if f"{each[-2:]}th word" in text]
        assert inside[0] <= names[0] <= names[-1] == inside[-1]


def test_words_above_a_heading_and_parts_of_long_lines_have_their_place(tmp_path):
    filler = "word " * 250
    page = f"<p>{filler}</p><h2>Appendix</h2><p>short</p>"
    assert [place for place, _ in places(tmp_path, "a.html", page.encode())] == [
        "beginning – Appendix"
    ]
    page = f"<h2>Alpha</h2><p>{filler * 4}</p><h2>Beta</h2><p>short</p>"
    found = [place for place, _ in places(tmp_path, "a.html", page.encode())]
    assert (found[0], found[-1]) == ("Alpha", "Alpha – Beta")


def test_deleted_words_and_older_forms_of_shapes_are_left_out(tmp_path):
    body = (
        "<w:p><w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:r><w:t>kept</w:t></w:r></w:p>"
        '<w:p><mc:AlternateContent xmlns:mc="m"><mc:Choice><w:txbxContent>'
        f"{made.paragraph('boxed')}</w:txbxContent></mc:Choice><mc:Fallback>"
        f"{made.paragraph('boxed')}</mc:Fallback></mc:AlternateContent></w:p>"
    )
    assert places(tmp_path, "a.docx", made.docx(body))[0] == (None, "kept\nboxed")


def test_a_sheet_of_many_rows_is_a_sample_that_says_so(tmp_path):
    count = 10 * MOST_ROWS
    rows = (made.row(made.text_cell(f"name-{n}"), f"<c><v>{n}</v></c>") for n in range(count))
    found = decode(tmp_path, "a.xlsx", made.xlsx({"All": rows}))
    names = [line.split(" | ")[0] for _, text in found for line in text.split("\n")]
    numbers = sorted({int(name.removeprefix("name-")) for name in names})
    assert numbers == list(range(0, count, 10))
    assert found[0][0].metadata.partial == f"{MOST_ROWS:,} of {count:,} rows"


def test_a_small_sheet_behind_a_large_one_is_whole(tmp_path):
    data = [made.row(f"<c><v>{n}</v></c>") for n in range(2 * MOST_ROWS)]
    sheets = {"Data": data, "Summary": [made.row(made.text_cell(f"total {n}")) for n in range(9)]}
    found = places(tmp_path, "a.xlsx", made.xlsx(sheets))
    assert {section for section, _ in found[:-1]} == {"sheet Data"}
    assert found[-1] == ("sheet Summary", "\n".join(f"total {n}" for n in range(9)))


def odf_table(name, *rows):
    cells = (f"<table:table-cell><text:p>{each}</text:p></table:table-cell>" for each in rows)
    lines = "".join(f"<table:table-row>{each}</table:table-row>" for each in cells)
    return f"<table:table table:name='{name}'>{lines}</table:table>"


def test_all_tables_of_a_workbook_count_as_its_rows(tmp_path):
    tables = "".join(odf_table(name, *range(MOST_ROWS + 1)) for name in "AB")
    data = made.odf(f"<office:spreadsheet>{tables}</office:spreadsheet>")
    partial = decode(tmp_path, "a.ods", data)[0][0].metadata.partial
    assert partial == f"{MOST_ROWS + 2:,} of {2 * MOST_ROWS + 2:,} rows"


def test_a_table_of_a_text_is_no_sheet(tmp_path):
    table = odf_table("Table1", "one")
    for heading, section in (("", None), ("<text:h>sheet music</text:h>", "sheet music")):
        body = f"<office:text>{heading}{table}<text:p>two</text:p></office:text>"
        [(found, text)] = places(tmp_path, "a.odt", made.odf(body))
        assert found == section
        assert text.endswith("one\ntwo")


def test_cells_far_to_the_right_and_odd_values(tmp_path):
    cells = (
        '<c r="C1" t="b"><v>1</v></c><c r="XFD1"><v>9</v></c><c r="D1" t="s"><v>99</v></c>'
        '<c r="E1" t="e"><v>#N/A</v></c><c r="F1" s="7"><v>x</v></c><c r="G1" t="str"><v>s</v></c>'
    )
    found = places(tmp_path, "a.xlsx", made.xlsx({"A": [made.row(cells)]}))
    assert found == [("sheet A", "TRUE | #N/A | x | s")]


@pytest.mark.parametrize(
    ("code", "value", "shown"),  # as Excel shows them, but for signs of currencies and brackets
    [
        (4, "1234.5", "1,234.50"),
        (3, "1200", "1,200"),
        (9, "0.5", "50%"),
        (10, "0.125", "12.50%"),
        (39, "-1234.555", "-1,234.56"),
        ("000", "7", "007"),
        ("0.0", "-0.04", "0.0"),
        ('_-* #,##0.00\\ "€"_-;[Red]-#,##0.00', "1234.5", "1,234.50"),
        ("[$-407]0.00", "2.345", "2.35"),
        ("yyyy-mm-dd", "45000", "2023-03-15"),
        ('0.0"%"', "5.3", "5.3"),
        ("0.0\\%", "5.3", "5.3"),
        ('0" (in %)"', "5", "5"),
        ("0_%", "5", "5"),
        ("[<1]0%;0", "5", "5"),
        ("#,##0.00", "-0.001", "0.00"),
        ("0.00", "1_0", "1_0"),
        # formats that are not known, and values that are no numbers, stay
        (0, "1234.5", "1234.5"),
        ("General", "0.1000000000000001", "0.1"),
        ("# ?/?", "1.5", "1.5"),
        ("0.00E+00", "0.000123", "0.000123"),
        ("#,##0,", "1234567", "1234567"),
        ("(000) 000-0000", "8001234567", "8001234567"),
        ("0.00", "1e300", "1e300"),
        ("0.00", "1e999999999", "1e999999999"),
        ("0.00", "nan", "nan"),
        ("0." + 10 * "0", "99999999999999.5", "99999999999999.5000000000"),
        ("0." + 30 * "0", "1.5", "1.5"),
        (9_999 * "0", "1.5", "1.5"),
        ("0.00", "x", "x"),
    ],
)
def test_a_number_is_read_as_its_cell_shows_it(tmp_path, code, value, shown):
    own = "" if isinstance(code, int) else f'<numFmt numFmtId="200" formatCode={quoteattr(code)}/>'
    number = code if isinstance(code, int) else 200
    styles = f'<numFmts>{own}</numFmts><cellXfs><xf/><xf numFmtId="{number}"/></cellXfs>'
    cells = f'{made.text_cell("a")}<c s="1"><v>{value}</v></c>'
    data = made.xlsx({"A": [made.row(cells)]}, styles=styles)
    assert places(tmp_path, "a.xlsx", data) == [("sheet A", f"a | {shown}")]


def test_a_page_in_another_encoding(tmp_path):
    page = '<html><head><meta charset="windows-1251"></head><body>Привет, мир</body></html>'
    found = places(tmp_path, "a.html", page.encode("cp1251"))
    assert found == [(None, "Привет, мир")]
    named_wrongly = page.replace("windows-1251", "utf-8").encode("utf-16")
    assert places(tmp_path, "a.htm", named_wrongly) == [(None, "Привет, мир")]


def test_links_behind_headings_are_no_part_of_them(tmp_path):
    page = (
        '<h2>Dams<a class="headerlink" href="#dams" title="Link to it">¶</a>\n</h2><p>See § 3, ¶ 4.'
    )
    found = places(tmp_path, "a.html", page.encode())
    assert found == [("Dams", "Dams\nSee § 3, ¶ 4.")]


def test_chapters_are_read_once_though_their_sections_are_listed_too(tmp_path):
    chapters = [b"<h1>One</h1><p>a <h2>Two</h2><p>b", b"<h1>Three</h1><p>c"]
    found = places(tmp_path, "a.epub", made.epub(chapters, anchors=["#s1", "#s2"]))
    assert found == places(tmp_path, "b.epub", made.epub(chapters))
    assert [text.split() for _, text in found] == [["One", "a", "Two", "b"], ["Three", "c"]]


def test_a_mail_that_is_a_page_alone(tmp_path):
    mail = (
        b"Subject: Hi\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n"
        b"<table><tr><td>Caf\xe9</td><td>3 EUR</td></tr></table>"
    )
    assert places(tmp_path, "a.eml", mail) == [("Hi", "Subject: Hi\nCafé | 3 EUR")]


RELATED = (
    b"From: %s\r\nTo: bob@example.org\r\nSubject: Hi\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/related; boundary="cut"\r\n\r\n--cut\r\nContent-Type: text/html'
    b'\r\n\r\n<meta name="author" content="Zoe"><p>Look</p>\r\n--cut\r\n'
    b"Content-Type: image/png\r\n\r\n\r\n--cut--\r\n"
)


def test_a_mail_with_pictures_in_its_page_has_its_sender(tmp_path):
    [(segment, text)] = decode(tmp_path, "a.eml", RELATED % b"Ann <ann@example.org>")
    assert text.startswith("From: Ann <ann@example.org>\nTo: bob@example.org\nSubject: Hi\n")
    assert segment.metadata.author == "Ann <ann@example.org>"


@pytest.mark.parametrize("sender", [b"<Saved by Blink>", b'"Saved by Internet Explorer 11"', b""])
def test_the_author_of_a_saved_page_is_not_the_browser(tmp_path, sender):
    [(segment, text)] = decode(tmp_path, "a.mhtml", RELATED % sender)
    assert (text, segment.metadata.author) == ("Look", "Zoe")


def test_half_a_character_of_utf_7_is_not_taken_as_text(tmp_path):
    half = b"words +2AA- here"
    mail = b"Subject: =?utf-7?q?Hi_+2AA-?=\r\nContent-Type: text/%s; charset=utf-7\r\n\r\n" + half
    for sort in (b"plain", b"html"):
        [(segment, text)] = decode(tmp_path, "a.eml", mail % sort)
        assert "words" in text
        (text + segment.section + segment.metadata.title).encode()
    assert decode(tmp_path, "a.html", b'<meta charset="utf-7">' + half)[0][1].startswith("words")


class Listener(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        self.send_error(404)

    def log_message(self, *_):
        pass


def test_nothing_is_fetched_and_no_other_file_is_read(tmp_path):
    """In the confined worker of the product; an entity that names a file is refused."""
    secret = tmp_path / "secret.txt"
    secret.write_text("the-secret")
    with HTTPServer(("127.0.0.1", 0), Listener) as server:
        server.requests = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        entity = f'<!DOCTYPE w [<!ENTITY x SYSTEM "file://{secret}">]>'
        dtd = f'<!DOCTYPE w SYSTEM "{url}/w.dtd">'
        page = (
            f'<base href="{url}"><link rel=stylesheet href="/s.css"><iframe src="/f"></iframe>'
            f'<img src="{url}/i.png"><object data="file://{secret}"></object><p>words'
        ).encode()
        linked = made.relationships(
            i=("image", f'{url}/i.png" TargetMode="External'), f=("footnotes", f"../../{secret}")
        )
        body = f"<w:document {made.W}><w:body>{made.paragraph('words &x;')}</w:body></w:document>"
        files = {
            "page.html": page,
            "mail.eml": b"Subject: x\r\nContent-Type: text/html\r\n\r\n" + page,
            "book.epub": made.epub([page]),
            "linked.docx": made.docx(
                made.paragraph("words"), {"word/_rels/document.xml.rels": linked}
            ),
            "dtd.docx": made.docx("", {"word/document.xml": dtd + body.replace("&x;", "")}),
            "entity.docx": made.docx("", {"word/document.xml": entity + body}),
            "macro.docm": made.docx(
                made.paragraph("words"), {"word/vbaProject.bin": b"\xd0\xcf\x11\xe0"}
            ),
        }
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        with Decoders(1) as decoders:
            jobs = [(item_of(tmp_path / name), "") for name in files]
            outcomes = dict(zip(files, decoders.decode(jobs, DecodeOptions(1)), strict=True))
        server.shutdown()
        assert server.requests == []
    refused = outcomes.pop("entity.docx")
    assert refused.reason == "its XML declares entities, which may expand without end"
    for name, outcome in outcomes.items():
        assert isinstance(outcome, Decoded), (name, outcome)
        text = " ".join(source.text for _, source in outcome.segments)
        assert "words" in text
        assert "the-secret" not in text


def test_every_format_is_decoded_in_the_confined_worker(tmp_path):
    for name, content in EXAMPLES.items():
        (tmp_path / name).write_bytes(content)
    with Decoders(1) as decoders:
        jobs = [(item_of(tmp_path / name), "") for name in EXAMPLES]
        outcomes = decoders.decode(jobs, DecodeOptions(1))
        for name, outcome in zip(EXAMPLES, outcomes, strict=True):
            assert isinstance(outcome, Decoded), (name, outcome)
            found = [(each.section, source.text) for each, source in outcome.segments]
            assert found == EXPECTED[name]


def test_documents_are_texts():
    assert {kind_of(name.encode()) for name in EXAMPLES} == {Kind.TEXT}


@pytest.mark.parametrize("name", ["a.docx", "a.epub", "a.odt", "a.rtf", "a.ipynb"])
def test_what_is_no_such_document(tmp_path, name):
    with pytest.raises(MediaError, match="damaged: not"):
        decode(tmp_path, name, b"plain words")
