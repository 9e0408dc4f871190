"""Clips from the file to the vector: as plain transformers have it, and kept by a library."""

import numpy as np
import pytest
import torch
from PIL import Image
from support.moving_videos import moving, still
from support.videos import decode, make

from qvsearch.cli.app import main
from qvsearch.indexing import pipeline as ingest
from qvsearch.library.library import Library
from qvsearch.models.prompt import embed_prompt
from qvsearch.runtime.choice import Choice
from qvsearch.runtime.creating import open_or_create
from qvsearch.runtime.local import LocalEmbedder
from qvsearch.types import Detail, EmbedInput, VideoMode

RATE = 10
SECONDS = {1: 1.0, 3: 1.4, 4: 3.0, 7: 6.5}  # of a video that gives a clip of so many frames


@pytest.mark.parametrize("count", SECONDS)
def test_a_clips_vector_is_that_of_transformers_own_video_path(tiny, tmp_path, count):
    pytest.importorskip("torchvision", reason="the reference's processors need torchvision")
    from support.reference import Reference

    frames = moving(1, SECONDS[count], RATE)
    path = make(tmp_path / "a.mp4", frames, rate=RATE)
    [(segment, source)] = decode(path, VideoMode.CLIPS)
    video = source.video
    assert len(video.pixels) == count
    # the numbers of the frames in the file, whose own times a player of the clip would see
    numbers = [round(time * RATE) for time in video.times]
    assert [number / RATE for number in numbers] == pytest.approx(video.times)
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Represent the user's input."}]},
        {"role": "user", "content": [{"type": "video"}]},
    ]
    reference = Reference.load(tiny)
    shown = [Image.fromarray(pixels) for pixels in video.pixels]
    inputs = reference.frame_inputs(messages, shown, float(RATE), numbers)
    embedder = LocalEmbedder(tiny, device="cpu", dtype="float32")
    [ids] = embedder.network.tokenize([embed_prompt(source)], 8192)
    assert ids == inputs["input_ids"][0].tolist()
    expected = reference.embed(inputs)[0].numpy()
    among = [EmbedInput(images=(video.pixels[0],)), source, EmbedInput("a dog")]
    assert np.abs(embedder.embed(among)[1] - expected).max() < 1e-5
    assert torch.equal(
        torch.as_tensor(inputs["video_grid_thw"][0]),
        torch.tensor([(count + 1) // 2, video.pixels.shape[1] // 16, video.pixels.shape[2] // 16]),
    )


def write_films(folder):
    folder.mkdir()
    make(folder / "a.mp4", [*moving(1, 6), *still(2, 6)])
    return folder


@pytest.mark.parametrize("mode", list(VideoMode))
def test_a_library_keeps_its_video_mode(tmp_path, mode, demo_embedder):
    films = write_films(tmp_path / "films")
    folder = tmp_path / "library"
    choice = Choice("demo", video_mode=mode)
    paths = [bytes(films)]
    for expected in ("embedded", "unchanged"):
        library = open_or_create(folder, choice)
        summary = ingest.index(
            library,
            paths,
            lambda: demo_embedder,
            ingest.IngestOptions(),
            lambda _: None,
            lambda: False,
        )
        assert getattr(summary, expected) == 1
        choice = Choice()
    assert Library.open(folder).fingerprint.video_mode is mode
    clips = [segment.clip for segment in library.segments.values()]
    whole = {VideoMode.FRAMES: [False] * 2, VideoMode.CLIPS: [True] * 2}
    if mode is VideoMode.BOTH:
        assert clips[-2:] == [True] * 2
        assert len(clips) > 5
        assert not any(clips[:-2])
    else:
        assert clips == whole[mode]


def test_a_library_without_files_takes_another_video_mode(tmp_path):
    """A server may refuse clips after the library was created; frames are the remedy."""
    folder = tmp_path / "library"
    assert open_or_create(folder, Choice(model="demo", video_mode=VideoMode.CLIPS)).generation == 0
    library = open_or_create(folder, Choice(video_mode=VideoMode.FRAMES, detail=Detail.HIGH))
    fingerprint = Library.open(folder).fingerprint
    assert fingerprint == library.fingerprint
    assert (fingerprint.video_mode, fingerprint.detail) == (VideoMode.FRAMES, Detail.HIGH)


def test_another_video_mode_is_refused(tmp_path, capsys):
    films = write_films(tmp_path / "films")
    library = str(tmp_path / "library")
    index = ["index", str(films), "--library", library, "--model", "demo", "--quiet"]
    assert main([*index, "--video-mode", "clips"]) == 0
    assert main([*index, "--video-mode", "both"]) == 2
    assert "was made with --video-mode clips, not both;" in capsys.readouterr().err
    assert main([*index, "--video-mode", "clips"]) == 0
    assert main([*index, "--video-mode", "moments"]) == 2
    assert "frames" in capsys.readouterr().err
