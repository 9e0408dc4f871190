"""The options of a GGUF file."""

from dataclasses import dataclass
from typing import Annotated

from qvsearch.cli.options import model_option


@dataclass(frozen=True)
class GgufOptions:
    """The second file of a model that is a GGUF file."""

    mmproj: Annotated[
        str | None,
        model_option(
            metavar="FILE",
            help="Vision tower of a GGUF file (default: the one beside it).",
        ),
    ] = None


@dataclass(frozen=True)
class NewGgufOptions(GgufOptions):
    """The files of a new library, and whether they are compared with exact ones."""

    accept_quantisation: Annotated[
        bool,
        model_option(
            "--accept-quantisation",
            help="Use a quantised GGUF file even if its vectors differ much from the model's.",
        ),
    ] = False
