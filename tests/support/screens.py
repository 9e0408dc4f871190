"""Drawn screens with words, as pictures and as films."""

import av
from PIL import Image, ImageDraw, ImageFont


def screen(name):
    """A picture of a drawn screen."""
    image = Image.new("RGB", (480, 360), "white")
    draw = ImageDraw.Draw(image)
    for row, line in enumerate([name, "Total 1,234.56 EUR"]):
        draw.text((30, 60 + 120 * row), line, font=ImageFont.load_default(32), fill="black")
    return image


def recording(path, *images, seconds=1):
    """A film that shows one screen after another for some seconds each."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *images[0].size, "yuv420p"
        for image in images:
            for _ in range(10 * seconds):
                container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
