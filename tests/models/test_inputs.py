"""What people give an embedder: words, pictures and files; and what is none of these is named."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qvsearch import media, prepare_picture
from qvsearch.errors import QvsearchError
from qvsearch.models.prompt import DOCUMENT_INSTRUCTION, QUERY_INSTRUCTION
from qvsearch.runtime.inputs import ready
from qvsearch.runtime.local import LocalEmbedder, LocalReranker
from qvsearch.runtime.query_cache import CachedEmbedder
from qvsearch.types import DecodeOptions, Detail, EmbedInput, Frames, Item, Kind


@pytest.fixture(scope="module")
def local(tiny):
    return LocalEmbedder(tiny, device="cpu", dtype="float32", detail="low")


@pytest.fixture(params=["local", "cached"])
def embedder(request, local):
    if request.param == "local":
        return local
    return CachedEmbedder(
        lambda: local, local.dim, "tiny", decode_options=DecodeOptions(Detail.LOW.max_pixels)
    )


def photo(folder, name="photo.jpg"):
    """A picture that is to be turned, resized and put on white."""
    pixels = np.random.default_rng(4).integers(0, 256, (60, 90, 4), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(pixels).resize((900, 600))
    image = image.convert("RGB") if name.endswith("jpg") else image
    image.save(folder / name, exif=exif)
    return folder / name


def as_indexed(path, detail=Detail.LOW):
    status = path.stat()
    item = Item(os.fsencode(path), b"", Kind.IMAGE, status.st_size, status.st_mtime_ns)
    return media.decode(item, "", DecodeOptions(detail.max_pixels)).segments[0][1].images[0]


def same(one, other):
    return np.abs(one - other).max() < 1e-6


def test_a_query_and_a_document_have_each_their_instruction(embedder):
    query = embedder.embed_query("a dog")
    assert query.shape == (embedder.dim,)
    assert same(query, embedder.embed([EmbedInput("a dog", instruction=QUERY_INSTRUCTION)])[0])
    [document] = embedder.embed_documents(["a dog"])
    assert same(document, embedder.embed([EmbedInput("a dog")])[0])
    assert same(
        document, embedder.embed([EmbedInput("a dog", instruction=DOCUMENT_INSTRUCTION)])[0]
    )
    assert not same(query, document)
    own = embedder.embed_query("a dog", instruction="Find a dog.")
    assert same(own, embedder.embed([EmbedInput("a dog", instruction="Find a dog.")])[0])
    assert embedder.embed_documents([]).shape == (0, embedder.dim)


def test_pictures_and_files_are_what_index_makes_of_them(embedder, request, tmp_path):
    path = photo(tmp_path, "photo.jpg" if "local" in request.node.name else "photo.png")
    pixels = as_indexed(path)
    assert pixels.shape[0] > pixels.shape[1]  # upright
    with Image.open(path) as image:
        documents = embedder.embed_documents([path, image, pixels, EmbedInput(images=(str(path),))])
        query = embedder.embed_query(images=[image])
        single = embedder.embed_query("a dog", images=image)
    assert same(documents, documents[:1])
    expected = [EmbedInput(None, (pixels,), None, QUERY_INSTRUCTION)]
    expected += [EmbedInput("a dog", (pixels,), None, QUERY_INSTRUCTION)]
    assert same(np.stack([query, single]), embedder.embed(expected))


def test_a_prepared_picture_has_the_pixels_that_index_gives_it(tmp_path):
    path = photo(tmp_path)
    for detail in Detail:
        with Image.open(path) as image:
            pixels = prepare_picture(image, detail)
        expected = as_indexed(path, detail)
        for each in (pixels, prepare_picture(path, detail.value)):
            np.testing.assert_array_equal(each, expected)
    np.testing.assert_array_equal(
        prepare_picture(str(path)), prepare_picture(path, Detail.MEDIUM), "medium by default"
    )
    assert prepare_picture(pixels) is pixels


@pytest.mark.parametrize(
    ("picture", "detail", "says"),
    [
        ("missing.jpg", "low", "missing.jpg: no such file"),
        ("note.txt", "low", "note.txt has no suffix of a picture"),
        ("broken.jpg", "low", "broken.jpg cannot be used: "),
        (np.zeros((64, 90, 3), np.uint8), "low", "the picture is 90x64 pixels; its sides must be"),
        (Image.new("RGB", (3, 900)), "low", "the picture cannot be used: too long a strip"),
        (7, "low", "the picture is of type int; give an array, a Pillow picture or a path"),
        ("missing.jpg", "huge", "the detail 'huge' is unknown; give low, medium, high"),
    ],
)
def test_what_cannot_be_prepared_is_named(tmp_path, monkeypatch, picture, detail, says):
    monkeypatch.chdir(tmp_path)
    Path("note.txt").write_text("a note")
    Path("broken.jpg").write_bytes(b"no picture")
    with pytest.raises(QvsearchError) as caught:
        prepare_picture(picture, detail)
    assert says in str(caught.value)


def test_arrays_stay_the_very_same():
    array = np.zeros((64, 96, 3), np.uint8)
    sources = [EmbedInput("x", (array,)), EmbedInput(images=array)]
    assert all(each.images[0] is array for each in ready(sources))


def frames(count, times=None):
    return Frames(np.zeros((count, 64, 64, 3), np.uint8), tuple(times or range(count)))


SOUND = np.zeros((64, 96, 3), np.uint8)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (EmbedInput(images=(SOUND[:50],)), "image 0 of input 1 is 96x50 pixels; .* of 32"),
        (EmbedInput(images=(SOUND, SOUND / 255)), "image 1 of input 1 .* float64; give uint8"),
        (EmbedInput(images=(SOUND.transpose(2, 0, 1),)), r"\(3, 64, 96\), not .*moveaxis"),
        (EmbedInput(images=(SOUND[:, :, 0],)), r"\(64, 96\), not \(height, width, 3\)$"),
        (EmbedInput(images=(SOUND[:0],)), "96x0 pixels"),
        (EmbedInput(images=(3,)), "image 0 of input 1 is of type int; give an array"),
        (EmbedInput(images=(Image.new("RGB", (1000, 1)),)), "cannot be used: too long a strip"),
        (EmbedInput(images=("gone.jpg",)), "gone.jpg: no such file"),
        (EmbedInput(images=("notes.txt",)), "notes.txt has no suffix of a picture"),
        (EmbedInput(images=(__file__ + "/a.png",)), "not a directory"),
        (EmbedInput(video=frames(0)), "the video of input 1 has no frames"),
        (EmbedInput(video=frames(2, [0.0])), "2 frames and 1 times"),
        (EmbedInput(video=frames(1, [float("nan")])), "each frame its time"),
        (EmbedInput(video=SOUND), r"is of type ndarray; give Frames\(pixels, times\)"),
        (EmbedInput(video=Frames(SOUND, (0.0,))), "time, height, width, 3"),
        (EmbedInput(text=b"words"), "the text of input 1 is of type bytes; give a str"),
        (EmbedInput("words", instruction=3), "the instruction of input 1 is of type int"),
        (EmbedInput("\udcff"), "lone surrogate"),
        ("words", "input 1 is of type str; give EmbedInput.*embed_query"),
        (Image.new("RGB", (64, 64)), "input 1 is of type Image; give EmbedInput"),
    ],
)
def test_what_is_no_input_is_named_with_the_way_out(embedder, source, message):
    with pytest.raises(QvsearchError, match=message):
        embedder.embed([EmbedInput("a dog"), source])


def test_damaged_pictures_are_named(local, tmp_path):
    path = photo(tmp_path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(QvsearchError, match=r"photo\.jpg cannot be used: truncated"):
        local.embed_documents([path])
    with Image.open(path) as image, pytest.raises(QvsearchError, match="image 0 of input 0 cannot"):
        local.embed_documents([image])


def test_one_is_not_taken_for_several(embedder):
    for alone in ("a dog", Path("a.jpg"), EmbedInput("a dog")):
        with pytest.raises(QvsearchError, match="embed_documents takes a list; write"):
            embedder.embed_documents(alone)
    with pytest.raises(QvsearchError, match="inputs are one EmbedInput; give a list"):
        embedder.embed(EmbedInput("a dog"))
    for empty in ("", None):
        with pytest.raises(QvsearchError, match="the query is empty"):
            embedder.embed_query(empty)


def test_an_unknown_detail_is_refused(tiny):
    with pytest.raises(QvsearchError, match="'huge' is unknown; give low, medium, high"):
        LocalEmbedder(tiny, detail="huge")


def test_a_reranker_takes_the_same_and_refuses_the_same(tiny, tmp_path):
    reranker = LocalReranker(tiny, device="cpu", dtype="float32")
    path = photo(tmp_path)
    pixels = as_indexed(path, Detail.MEDIUM)
    with Image.open(path) as image:
        documents = [EmbedInput(images=(each,)) for each in (image, pixels)]
        scores = reranker.score(EmbedInput("a dog"), documents)
    assert scores == pytest.approx([scores[1]] * 2, abs=1e-6)
    with pytest.raises(QvsearchError, match="input 0 is of type str"):
        reranker.score("a dog", documents)
