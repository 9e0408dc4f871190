"""What `serve-model` prints and writes; `tests/server` starts servers with it."""

import json
import shlex

import numpy as np
import pytest
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from qvsearch.cli.app import main
from qvsearch.models.registry import MODELS
from qvsearch.runtime.remote.references import Form, own_inputs
from qvsearch.types import Detail

EMBEDDER, RERANKER = "Qwen/Qwen3-VL-Embedding-2B", "Qwen/Qwen3-VL-Reranker-2B"


def records(capfd, *arguments):
    assert main(["serve-model", *arguments, "--json"]) == 0
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def words(command):
    return shlex.split(command.replace("\\\n", " "))


def option(command, name):
    split = words(command)
    return split[split.index(name) + 1]


@pytest.mark.parametrize(("model", "role"), [(EMBEDDER, "embedder"), (RERANKER, "reranker")])
def test_commands_are_for_each_device_and_way(capfd, model, role):
    found = records(capfd, model, "--port", "9000")
    assert [(each["device"], each["way"]) for each in found] == [
        ("gpu", "plain"),
        ("gpu", "docker"),
        ("cpu", "plain"),
        ("cpu", "docker"),
    ]
    for each in found:
        command = each["command"]
        assert (each["model"], each["role"]) == (model, role)
        assert option(command, "--revision") == MODELS[model].revision
        assert option(command, "--runner") == "pooling"
        assert json.loads(option(command, "--mm-processor-kwargs"))["max_pixels"] == 1_843_200
        assert ("--hf-overrides" in command) == (role == "reranker")
        assert "VLLM_NO_USAGE_STATS=1" in words(command)
        is_docker = each["way"] == "docker"
        assert ("--publish 127.0.0.1:9000:8000" in command) == is_docker
        assert ("--host 127.0.0.1" in command) != is_docker
        assert option(command, "--chat-template").endswith(each["template"].rsplit("/", 1)[1])


def test_the_reranker_is_the_published_one_by_default(capfd):
    assert records(capfd, "--reranker")[0]["model"] == RERANKER
    assert records(capfd)[0]["model"] == EMBEDDER


def test_clips_need_one_more_option(capfd):
    for mode, is_there in (("frames", False), ("clips", True), ("both", True)):
        command = records(capfd, "--video-mode", mode)[0]["command"]
        assert ("--trust-request-mm-kwargs" in command) == is_there


def test_a_library_decides_its_model_and_videos(capfd, tmp_path):
    (tmp_path / "note.txt").write_text("a red star")
    library = str(tmp_path / "library")
    index = ["index", str(tmp_path / "note.txt"), "-l", library, "--model", "demo", "-q"]
    assert main([*index, "--video-mode", "both"]) == 0
    folder = tmp_path / "a folder; of 'mine'"
    [command, *_] = [
        each["command"] for each in records(capfd, "-l", library, "--write", str(folder))
    ]
    assert words(command)[2:5] == ["vllm", "serve", str(folder)]
    assert option(command, "--chat-template") == str(folder / "qwen3_vl_embedding.jinja")
    assert "--trust-request-mm-kwargs" in command
    assert main(["serve-model", "-l", library, "--write", str(folder)]) == 0
    last = capfd.readouterr().out.splitlines()[-2]
    assert last == f"qvsearch serve-model --check http://127.0.0.1:8000 -l {library}"


def test_a_written_model_prepares_pixels_as_we_do(tmp_path, capfd):
    records(capfd, "demo", "--write", str(tmp_path / "served"))
    config = json.loads((tmp_path / "served/preprocessor_config.json").read_text())
    processor = Qwen2VLImageProcessorPil(**config)
    [picture] = own_inputs(Form.PICTURE, Detail.MEDIUM)
    [pixels] = picture.images
    prepared = processor(pixels, return_tensors="np")
    height, width = pixels.shape[0] // 16, pixels.shape[1] // 16
    assert prepared["image_grid_thw"].tolist() == [[1, height, width]]
    first = prepared["pixel_values"][0].reshape(3, 2, 16, 16)[:, 0]
    ours = (pixels[:16, :16].transpose(2, 0, 1).astype(np.float32) - 127.5) / 127.5
    assert np.abs(first - ours).max() < 1e-5


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["demo"], "demo lacks files that vLLM needs"),
        (["Qwen/Qwen3-VL-2B-Instruct"], "is not a model of this role; name another embedder"),
        ([EMBEDDER, "--reranker"], "is not a model of this role; name another reranker"),
        (["no such model"], "no model 'no such model'"),
        (["--port", "0"], "--port must be"),
        (["--check", "http://localhost:1", "--write", "x"], "leave it out with --check"),
        (["demo", "--check", "http://localhost:1"], "it cannot be reached"),
        (
            ["demo", "--check", "ftp://localhost"],
            "--check 'ftp://localhost' is not an http or https URL",
        ),
        (["--check", "localhost:8000"], "--check 'localhost:8000' is not an http or https URL"),
        (["demo-reranker", "--check", "http://localhost:1"], "it cannot be reached"),
    ],
)
def test_mistakes_are_named(arguments, reason, capfd):
    assert main(["serve-model", *arguments]) == 2
    captured = capfd.readouterr()
    assert reason in captured.err
    assert captured.out == ""


def test_a_folder_is_served_if_it_is_a_model_and_from_any_place(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert main(["serve-model", "photos"]) == 2
    reason = f"{tmp_path / 'photos'} is not a complete checkpoint: it has no config.json"
    assert reason in capfd.readouterr().err
    records(capfd, "demo", "--write", "served")
    [command, *_] = [each["command"] for each in records(capfd, "served")]
    assert words(command)[2:5] == ["vllm", "serve", str(tmp_path / "served")]


def test_a_folder_with_other_files_is_left_alone(tmp_path, capfd):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["serve-model", "demo", "--write", str(tmp_path)]) == 2
    assert "is not empty; give --write a new folder" in capfd.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["mine.txt"]
