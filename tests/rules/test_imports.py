import ast
from graphlib import TopologicalSorter

import pytest
from support.modules import MODULES, loaded_by, nodes, syntax_trees

RANKS = (  # a package imports from those above it; those of one line leave each other alone
    {"ground"},
    {"models", "vectors", "demo"},
    {"library", "media"},
    {"published"},
    {"indexing", "runtime", "duplicates"},
    {"retrieval", "compat"},
    {"machine", "tasks"},  # `bench` times the search
    {"freshness", "distributed"},
    {"records", "gallery"},
    {"web", "mcp"},
    {"cli", "mteb"},
)
RANK_OF = {package: rank for rank, packages in enumerate(RANKS) for package in packages}


def imported(tree):
    """The package's modules that a module imports, wherever in it the import stands."""
    for node in nodes(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in inner]
        yield from (name for name in names if name in MODULES and name != "qvsearch")


@pytest.fixture(scope="module")
def imports():
    """The package's modules that each module imports, by its name."""
    trees = syntax_trees()
    return {name: {*imported(trees[name])} - {name} for name in MODULES if name != "qvsearch"}


def package(name):
    """The package that a module is in; `__main__` is the command line's."""
    parts = name.split(".")
    return "cli" if name == "qvsearch.__main__" else parts[1] if parts[1] in RANK_OF else "ground"


def breaches(imports):
    return [
        f"{name} imports {other}"
        for name, others in imports.items()
        for other in sorted(others)
        if package(name) != package(other) and RANK_OF[package(other)] >= RANK_OF[package(name)]
    ]


def test_packages_import_only_from_those_above_them(imports):
    assert breaches(imports) == []


def test_a_planted_breach_is_found():
    planted = {"qvsearch.media.text": {"qvsearch.library.rows", "qvsearch.types"}}
    assert breaches(planted) == ["qvsearch.media.text imports qvsearch.library.rows"]


def test_no_module_needs_one_that_needs_it(imports):
    list(TopologicalSorter(imports).static_order())


OPTIONS = [
    *("--not", "a cat", "-k", "3", "--kind", "image", "--under", ".", "--sort", "date"),
    *("--min-relevance", "0", "--dtype", "int8", "--library", "/nowhere", "--json"),
]


def loaded_by_lines(*lines):
    return loaded_by(f"from qvsearch.cli.app import main\nfor line in {lines}: main(line)")


def test_command_lines_are_read_without_pydantic():
    loaded = loaded_by_lines(
        ["search", "a dog", *OPTIONS],
        ["libraries"],
        ["libraries", "--json"],
        ["libraries", "delete", "none", "--yes"],
        ["models", "list"],
        ["--version"],
    )
    ran = {"retrieval.pipeline", "library.libraries", "models.registry", "version"}
    assert {f"qvsearch.{module}" for module in ran} <= loaded
    assert not {"pydantic", "psutil"} & loaded


def test_a_dry_run_is_read_without_pydantic():
    loaded = loaded_by_lines(["index", ".", "--dry-run"])  # psutil looks at the file system
    assert "qvsearch.indexing.plan" in loaded
    assert "pydantic" not in loaded


@pytest.fixture(scope="module")
def loaded_by_listing(tmp_path_factory):
    """The modules that are loaded to list models, none of which is here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hub")))
        patch.delenv("HF_HUB_CACHE", raising=False)
        return loaded_by_lines(["models", "list"])


def test_a_model_that_was_never_downloaded_is_looked_for_without_the_hubs_client(loaded_by_listing):
    assert "huggingface_hub.constants" in loaded_by_listing
    assert "huggingface_hub.hf_api" not in loaded_by_listing


def test_models_are_listed_without_numbers_if_no_file_needs_an_estimate(loaded_by_listing):
    assert "qvsearch.machine.gguf_files" in loaded_by_listing
    assert not {"numpy", "faiss", "qvsearch.library.library"} & loaded_by_listing


def test_a_search_by_words_loads_no_decoder_and_no_reranker():
    loaded = loaded_by("import qvsearch.retrieval.pipeline")
    others = {"retrieval.copies", "retrieval.reranking", "media", "runtime.local", "models.network"}
    assert not loaded & {f"qvsearch.{name}" for name in others}
    assert not loaded & {"torch", "PIL", "av", "cv2"}


def test_importing_the_package_loads_only_itself():
    ours = {name for name in loaded_by("import qvsearch") if name.startswith("qvsearch")}
    assert ours == {"qvsearch", "qvsearch.version"}


def test_public_names_are_there_and_stay_what_they_are():
    code = """
from qvsearch import search
import qvsearch.retrieval.pipeline, qvsearch
assert callable(search) and qvsearch.search is search
assert [getattr(qvsearch, name).__name__ for name in qvsearch.__all__]
"""
    assert "torch" in loaded_by(code)


def test_documented_names_of_0_1_still_work_and_warn():
    with pytest.warns(DeprecationWarning, match="import parse_filters from qvsearch"):
        from qvsearch.filters import parse_filters
    with pytest.warns(DeprecationWarning, match="import Query from qvsearch"):
        from qvsearch.retrieve import Query
    import qvsearch

    assert (parse_filters, Query) == (qvsearch.parse_filters, qvsearch.Query)
    with pytest.raises(ImportError):
        from qvsearch.retrieve import answer  # noqa: F401
