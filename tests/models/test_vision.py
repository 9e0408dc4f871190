"""Pixels and patches are the reference's, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from qvsearch.media.pixels import fit
from qvsearch.models.network import Network
from qvsearch.models.patches import image_patches, video_patches
from qvsearch.models.vision import LinearPatchEmbed

pytest.importorskip("torchvision", reason="the reference's image processor needs torchvision")

HIGH = 1800 * 32 * 32


@pytest.fixture(scope="module")
def reference(tiny: Path):
    from support.reference import Reference

    return Reference.load(tiny)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Pixels of every value, smooth enough that resampling them is no lottery."""
    random = np.random.default_rng(height * 10_000 + width)
    coarse = random.integers(0, 256, (height // 8 + 2, width // 8 + 2, channels), np.uint8)
    scaled = [
        np.asarray(Image.fromarray(coarse[..., index]).resize((width, height)))
        for index in range(channels)
    ]
    return np.stack(scaled, axis=-1)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 128), (448, 608), (1152, 1536)])
def test_patches_of_an_image_equal_the_processors(reference, height: int, width: int) -> None:
    pixels = noise(height, width)
    expected = reference.processor.image_processor(
        Image.fromarray(pixels), do_resize=False, return_tensors="pt"
    )
    patches, grid = image_patches(pixels)
    assert patches.dtype == np.float32
    assert np.array_equal(patches, expected["pixel_values"].numpy())
    assert list(grid) == expected["image_grid_thw"][0].tolist()


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_patches_of_frames_equal_the_processors(reference, count: int) -> None:
    frames = np.stack([noise(64, 96 + 32 * index)[:, :96] for index in range(count)])
    expected = reference.processor.video_processor(
        [torch.from_numpy(frames).permute(0, 3, 1, 2)],
        do_resize=False,
        do_sample_frames=False,
        return_tensors="pt",
    )
    patches, grid = video_patches(frames)
    assert np.array_equal(patches, expected["pixel_values_videos"].numpy())
    assert list(grid) == expected["video_grid_thw"][0].tolist()


def photo(mode: str, height: int, width: int) -> Image.Image:
    channels = {"L": 1, "RGBA": 4}.get(mode, 3)
    pixels = noise(height, width, channels)
    if mode in ("P", "1"):
        return Image.fromarray(pixels).convert(mode)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


@pytest.mark.parametrize(
    ("mode", "suffix", "height", "width"),
    [
        ("RGB", "jpg", 301, 455),
        ("RGB", "jpg", 1512, 2016),
        ("RGB", "png", 50, 60),
        ("RGB", "webp", 1, 97),
        ("RGB", "png", 2500, 13),
        ("RGBA", "png", 333, 217),
        ("L", "png", 511, 513),
        ("P", "gif", 240, 320),
        ("1", "png", 77, 129),
    ],
)
def test_a_file_gives_the_pixels_of_qwen_vl_utils(
    reference, tmp_path: Path, mode: str, suffix: str, height: int, width: int
) -> None:
    path = tmp_path / f"photo.{suffix}"
    photo(mode, height, width).save(path)
    for budget in (256 * 32 * 32, HIGH):
        with Image.open(path) as image:
            part = {"type": "image", "image": image}
            part |= {"min_pixels": 4 * 32 * 32, "max_pixels": budget}
            expected = reference.inputs([[{"role": "user", "content": [part]}]])
            patches, grid = image_patches(fit(image, budget))
        assert np.array_equal(patches, expected["pixel_values"].numpy())
        assert list(grid) == expected["image_grid_thw"][0].tolist()


@pytest.mark.parametrize("checkpoint", ["tiny", "wide"])
@torch.inference_mode()
def test_the_tower_gives_the_references_tokens(checkpoint: str, request) -> None:
    """Single rows, grids larger than the learned one, and frames beside pictures of their size."""
    from support.reference import Reference

    folder = request.getfixturevalue(checkpoint)
    network, plain = Network(folder, "cpu", "float32"), Reference.load(folder).model.visual
    network.load_vision()
    pictures = [noise(32, 32), noise(32, 800), noise(96, 64), noise(64, 96), noise(64, 96)]
    cut = [image_patches(each) for each in pictures]
    cut.append(video_patches(np.stack([noise(64, 96 + 32 * n)[:, :96] for n in range(5)])))
    patches = torch.from_numpy(np.concatenate([each for each, _ in cut]))
    grids = [grid for _, grid in cut]
    expected = plain(patches, grid_thw=torch.tensor(grids))
    found = network.model.visual(patches, grids)
    assert (found.tokens - expected.pooler_output).abs().max() < 1e-5
    for ours, theirs in zip(found.deepstack, expected.deepstack_features, strict=True):
        assert (ours - theirs).abs().max() < 1e-5


def test_the_linear_patch_embedding_equals_the_convolution() -> None:
    torch.manual_seed(0)
    conv = torch.nn.Conv3d(3, 1024, kernel_size=(2, 16, 16), stride=(2, 16, 16))
    patches = torch.rand(64, 1536) * 2 - 1
    with torch.inference_mode():
        expected = conv(patches.view(-1, 3, 2, 16, 16)).view(-1, 1024)
        found = LinearPatchEmbed.of(conv)(patches)
    assert (found - expected).abs().max() < 1e-5
