"""The options of a GGUF file."""

from dataclasses import dataclass
from typing import Annotated

from qvsearch.cli.options import model_option

MmprojOption = Annotated[
    str | None,
    model_option(
        "--mmproj",
        metavar="FILE",
        help="Vision tower of a GGUF file (default: the one beside it).",
    ),
]


@dataclass(frozen=True)
class NewGgufOptions:
    """A GGUF file as the model of a new library."""

    mmproj: MmprojOption = None
    accept_quantisation: Annotated[
        bool,
        model_option(
            "--accept-quantisation",
            help="Use a GGUF file even if its vectors differ much from the exact ones.",
        ),
    ] = False
