"""Every documented benchmark runs at its smallest size and prints figures."""

import os
import re
import runpy
import sys
from pathlib import Path

import pytest

from qvsearch.indexing import pipeline as ingest

pytestmark = pytest.mark.quality

pytest.importorskip("torchvision", reason="the reference's processors need torchvision")

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "tests/bench"

# the arguments of the quickest run, and a pattern of its output
SMALLEST = {
    "cold_query": ("--model MODEL --few-layers --repeats 1", r"cold query: [\d.]+ s .*scaled from"),
    "cluster": ("--tiny --worlds 1 --exact 60", r"names \d+ right of \d+\n(.*\n)*60 files.*AMI "),
    "documents": ("--pages 2", r"low: [\d.]+ ms of one core a page, 2 pages"),
    "duplicates": ("--scenes 1 --rows 20", r"20 images of 64 numbers, 2 of them copies: 2 found"),
    "engine": (
        "--tiny --text-layers 2 --vision-layers 1 --repeats 1 --every 13 --sizes --tables embed",
        r"qvsearch, 2 .* \d\.\d\d ",
    ),
    "exclusion": ("--rows 60 --queries 12", r"leak@10 .*\n(.*\n)*--not "),
    "export_memory": ("--rows 300 --dim 64", r"exported 300 rows, .*\nmemory: at most \d+ MB"),
    "fit_relevance": ("--tiny --to relevance.json", r"rows, loss \d\.\d+ at first"),
    "gallery": ("--photos 2 --size 400 300", r"with cached thumbnails: .* 0 missing"),
    "indexing": (
        "--tiny --text-layers 1 --vision-layers 1 --photos 1 --repeats 1"
        " --tables decoders draft --decoders 1",
        r"1 decode processes: [\d.]+ photos/s(.*\n)*.* ms with draft",
    ),
    "int8": ("--tiny --repeats 1 --scenes 12", r"outliers of 30 times the size: median cosine 0"),
    "int8_store": (
        "--without-world --rows 40 --queries 2 --turns 1",
        r"int8 is [\d.]+ times as fast",
    ),
    "million": ("--rows 40 --without exact fast", r"IndexFlatIP +p50 .* recall@10 1\.000"),
    "ocr": ("--sizes 640x360 --languages en", r"640x360 en: .* [0-4]\.\d\d % wrong"),
    "other_models": (
        "model --steps 1 --scenes 20 --count 1 --sizes 20",
        r"cosine of a caption(.*\n)*mean F1 .*(.*\n)*mean F1 ",
    ),
    "published": (
        "--rows 10000 --libraries 1",
        r"library 1: 10,000 rows, .*(.*\n)*unchanged: 0 rows",
    ),
    "quantised": ("", r"\nQ4_0 "),
    "ray_driver": ("--files 50 --dim 64", r"driver: [\d,]+ files/s in all\ntable: "),
    "relevance": ("--scenes 20 --count 1 --sizes 20 --worlds pictures", r"mean F1 "),
    "scans": ("--rows 70000 --dim 64 --repeats 1", r"70,000 rows, first pass: [\d.]+ ms"),
    "search_speed": ("--rows 200", r"calibrated, filtered .* x plain"),
    "seconds_per_photo": ("--tiny --repeats 1 --details low", r"photo, low +[\d.]+ s"),
    "serve": ("20", r"first 60 hits of a new query: median(.*\n)*page: .* of styles"),
    "servers": (
        "--photos 2 --size 320 240 --servers 1 --repeats 1 --rate 100",
        r"jpeg95: [\d.]+ photos/s(.*\n)*1 servers .*(.*\n)*decoding alone: ",
    ),
    "several": ("--scenes 12", r"halves, two models +recall@1 [01]\.\d+"),
    "words_ranking": (
        "--scenes 20 --count 1 --sizes 40",
        r"nDCG@10 and F1 .*(.*\n)*numbers .*",
    ),
    "warm_query": (
        "--model MODEL --few-layers --device cpu --rows 100 --repeats 1",
        r"warm query.* scaled from .*\ncached query, 100 rows: \d+ ms .*\n100 photos of 64",
    ),
    "words": ("300", r"written in (.*\n)*a text: "),
}
# these start processes that load a model, or a browser, or cannot be small
SLOW = {"cold_query", "indexing", "published", "quantised", "serve", "warm_query"}
# these have tests of their own, or need real servers, as those of tests/server, or the network
ELSEWHERE = {
    *("debian_documents", "published_million", "real_relevance", "side_by_side"),
    *("search_rivals", "vllm_servers"),
}


@pytest.fixture
def run(monkeypatch, tmp_path, capsys, tiny):
    """Run a benchmark in this process, which has torch already; return what it prints."""
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    monkeypatch.setattr(os, "environ", os.environ | {})
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ingest, "Decoders", ingest.Decoders)  # one of them changes it
    import libraries

    monkeypatch.setattr(libraries, "ASKED", 3)
    monkeypatch.setattr(libraries, "TWINS", 1)

    def run(name, arguments):
        monkeypatch.setattr(
            sys, "argv", [f"{name}.py", *arguments.replace("MODEL", str(tiny)).split()]
        )
        runpy.run_path(str(BENCH / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_each_that_is_documented_is_tried():
    texts = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named = {
        name
        for text in texts
        for name in re.findall(r"python tests/bench/(\w+)\.py", text.read_text(encoding="utf-8"))
    }
    assert named == SMALLEST.keys() | ELSEWHERE


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=[pytest.mark.soak] * (each in SLOW)) for each in SMALLEST],
)
def test_it_runs_at_its_smallest(name, run):
    arguments, figures = SMALLEST[name]
    printed = run(name, arguments)
    assert re.search(figures, printed), printed


@pytest.mark.soak
def test_a_published_table_is_searched(run, tmp_path):
    table = tmp_path / "rows.lance"
    run("published", f"--rows 30000 --libraries 1 --table {table}")
    printed = run("published_million", f"{table} --queries 6 --exact 2")
    assert re.search(r"no filter: p50 and p95 (.*\n)*recall@10 of 2 queries: [01]\.\d+", printed)
