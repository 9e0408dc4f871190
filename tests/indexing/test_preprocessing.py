"""A library's version of preprocessing decides how files are decoded for it, always.

Libraries of version 1 have vectors of whole JPEGs, those of version 2 of reduced ones.
"""

import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.colours import FINGERPRINT, ColourEmbedder, ColourReranker
from support.images import item_of

from qvsearch import Query, SearchOptions, explain, media, search, similar
from qvsearch.choices import RerankScope
from qvsearch.indexing.pipeline import IngestOptions, index
from qvsearch.library.library import Library
from qvsearch.models.patches import KNOWN_PREPROCESSING, PREPROCESSING
from qvsearch.models.registry import fingerprint, resolve
from qvsearch.retrieval.options import Rerank
from qvsearch.runtime.creating import open_or_create
from qvsearch.runtime.loading import Choice, load_embedder, query_embedder
from qvsearch.types import DecodeOptions, Detail, EmbedInput


def photo(path, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (900, 1600, 3), np.uint8)  # reduced, no pixel stays what it was
    Image.fromarray(pixels).save(path, quality=80)
    return path


def pixels_of(path, *, draft):
    options = DecodeOptions(Detail.LOW.max_pixels, draft=draft)
    return media.decode(item_of(path), "", options).segments[0][1].images[0]


def images_in(inputs):
    return [image for source in inputs for image in source.images]


@pytest.fixture(params=KNOWN_PREPROCESSING)
def version(request):
    return request.param


def test_new_libraries_have_the_newest_version(tmp_path):
    assert KNOWN_PREPROCESSING[-1] == PREPROCESSING == 2
    library = open_or_create(tmp_path / "library", Choice("demo"))
    assert library.fingerprint.preprocessing == 2
    assert library.fingerprint.decode_options.draft


def test_files_and_queries_follow_the_library(tmp_path, version):
    (tmp_path / "photos").mkdir()
    path, other = photo(tmp_path / "photos" / "a.jpg", 1), photo(tmp_path / "b.jpg", 2)
    library = Library.create(tmp_path / "library", replace(FINGERPRINT, preprocessing=version))
    embedder, reranker = ColourEmbedder(), ColourReranker()

    def run():
        index(
            library,
            [os.fsencode(tmp_path / "photos")],
            lambda: embedder,
            IngestOptions(),
            lambda _: None,
            lambda: False,
        )

    def sees(run_, model, *paths):
        model.seen.clear()
        run_()
        pictures = images_in(model.seen)
        assert len(pictures) == len(paths)
        for pixels, each in zip(pictures, paths, strict=True):
            np.testing.assert_array_equal(pixels, pixels_of(each, draft=version == 2))
            assert (pixels != pixels_of(each, draft=version == 1)).any()

    sees(run, embedder, path)
    library = Library.open(tmp_path / "library")  # by a later process, which extends it
    more = photo(tmp_path / "photos" / "c.jpg", 3)
    sees(run, embedder, more)
    sees(lambda: search(library, other, embedder), embedder, other)
    mixed = Query("red", image=os.fsencode(other), like=(os.fsencode(path),))
    sees(lambda: search(library, mixed, embedder), embedder, other, path)
    sees(lambda: explain(library, str(other), path, embedder), embedder, other)
    sees(lambda: similar(library, other, embedder=embedder), embedder, other)
    options = SearchOptions(min_relevance=0, rerank=Rerank(RerankScope.ALL, top=1))
    first = search(library, other, embedder, options)[0].path
    sees(lambda: search(library, other, embedder, options, reranker), reranker, first)


def test_a_librarys_embedder_prepares_files_as_the_library_does(tmp_path, version):
    path = photo(tmp_path / "a.jpg", 1)
    own = replace(fingerprint(resolve("demo"), 64, Detail.LOW), preprocessing=version)
    pixels = pixels_of(path, draft=version == 2)
    for load in (load_embedder, query_embedder):
        embedder = load(own, Choice())
        vectors = embedder.embed_documents([path, pixels])
        np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
        assert embedder.embed([EmbedInput(images=(pixels,))])[0] @ vectors[0] > 0.999999
