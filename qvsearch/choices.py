"""What the options of commands and of the Python functions choose from."""

from enum import StrEnum


class RerankScope(StrEnum):
    """Which hits a reranker scores: those where it helps, or all."""

    AUTO = "auto"
    ALL = "all"


class Task(StrEnum):
    """A preset for the instruction of a query, by what is looked for."""

    PHOTOS = "photos"
    PAGES = "pages"
    VIDEOS = "videos"
    MOMENTS = "moments"
    PASSAGES = "passages"


class By(StrEnum):
    """What a query is compared with: the meaning of rows, their words, or both."""

    BOTH = "both"
    WORDS = "words"
    MEANING = "meaning"


class Sort(StrEnum):
    """The order of the hits."""

    RELEVANCE = "relevance"
    DATE = "date"
    PATH = "path"


class Orientation(StrEnum):
    """Which side of an upright picture is the longer one."""

    LANDSCAPE = "landscape"
    PORTRAIT = "portrait"
    SQUARE = "square"


class Metric(StrEnum):
    """How two vectors are compared. Vectors have length 1, so `dot` equals `cosine`."""

    COSINE = "cosine"
    DOT = "dot"
    EUCLIDEAN = "euclidean"


class Hub(StrEnum):
    """A site that publishes models."""

    HUGGINGFACE = "huggingface"
    MODELSCOPE = "modelscope"


class Pictures(StrEnum):
    """How a terminal shows pictures: `auto` is the best way that it has."""

    AUTO = "auto"
    KITTY = "kitty"
    ITERM2 = "iterm2"
    SIXEL = "sixel"
    BLOCKS = "blocks"


class Wire(StrEnum):
    """How pixels are sent to a server."""

    LOSSLESS = "lossless"
    JPEG95 = "jpeg95"
