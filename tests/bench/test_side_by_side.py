"""The benchmarks beside others run, and say what agrees; their figures are for people to print."""

import json
import re
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.quality

pytest.importorskip("torchvision", reason="the reference's processors need torchvision")
pytest.importorskip("qwen_vl_utils", reason="transformers called the plain way reads with it")

BENCH = Path(__file__).parents[1] / "bench"
QUICK = ["--tiny", "--every", "6", "--text-layers", "2", "--vision-layers", "1"]
QUICK += ["--without", "sentence-transformers"]


@pytest.fixture
def side_by_side(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    import side_by_side

    return side_by_side


def cosines(printed):
    return [float(each) for each in re.findall(r"least cosine (\S+)", printed)]


def test_qvsearch_and_plain_transformers_take_turns(side_by_side, tmp_path, capsys):
    words = [*QUICK, "--folder", str(tmp_path), "--sizes", "2", "all", "--repeats", "1"]
    side_by_side.main(words)
    printed = capsys.readouterr().out
    rows = re.findall(r"^  (\w+(?:, \d+)?) +\d+\.\d +\(", printed, re.M)
    assert rows == [
        *("qvsearch, 2", "qvsearch, 5", "transformers, 2", "transformers, 5"),
        *("qvsearch", "transformers"),
    ]
    assert cosines(printed) == pytest.approx([1] * 4, abs=1e-5)
    apart = [float(each) for each in re.findall(r"logits apart (\S+),", printed)]
    assert len(apart) == 2
    assert max(apart) < 1e-4
    assert "upstream is left out: no --upstream is given" in printed

    (path,) = tmp_path.glob("embed-*.json")
    times = json.loads(path.read_text())["repetitions"]
    side_by_side.main([*words[:-1], "2", "--tables", "embed"])  # goes on, and measures one more
    kept = json.loads(path.read_text())["repetitions"]
    assert kept[:1] == times
    assert len(kept) == 2
    assert "2 repetitions" in capsys.readouterr().out

    with pytest.raises(SystemExit, match="has other layers"):
        side_by_side.main([*words, "--text-layers", "3"])


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, "has no src/models or scripts with qwen3_vl_embedding.py"),
        ("import a_module_that_is_not_there", "does not import: No module named 'a_module_that"),
    ],
)
def test_a_checkout_that_cannot_be_loaded_is_absent(side_by_side, tmp_path, source, reason):
    import contenders

    (tmp_path / "scripts").mkdir()
    if source is not None:
        (tmp_path / "scripts/qwen3_vl_embedding.py").write_text(source)
    setting = contenders.Setting(tmp_path, max_pixels=65536, upstream=tmp_path)
    with pytest.raises(contenders.Absent, match=reason):
        contenders.upstream_embedder(setting)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--sizes 0", "0 is not 1 or more"),
        ("--sizes some", "invalid batch_size value"),
        ("--tables search", "invalid choice"),
        ("--device quantum", "the device 'quantum' is not usable here"),
    ],
)
def test_options_that_mean_nothing_are_refused(side_by_side, capsys, words, message):
    with pytest.raises(SystemExit) as ended:
        side_by_side.main(words.split())
    assert message in capsys.readouterr().err + str(ended.value)


def test_other_weights_are_not_taken_for_the_same(side_by_side):
    import contenders
    from torch import nn

    first, other = nn.Linear(2, 2), nn.Linear(2, 2)
    with pytest.raises(AssertionError, match="weight is not what the others have"):
        contenders.share(first, other)
    other.load_state_dict(first.state_dict())
    contenders.share(first, other)
    assert other.weight.data_ptr() == first.weight.data_ptr()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_searches_take_turns_and_find_the_same(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    import search_rivals

    words = ["--rows", "2000", "--repeats", "1", "--without", "Chroma", "IndexHNSWFlat"]
    search_rivals.main([*words, "--folder", str(tmp_path)])
    printed = capsys.readouterr().out
    found = dict(re.findall(r"^(\S.*?) +p50 .*recall@10 (\S+)$", printed, re.M))
    assert list(found) == ["IndexFlatIP", "qvsearch, exact", "qvsearch, first pass"]
    assert min(map(float, found.values())) >= 0.98  # stored in half precision, near ties change
