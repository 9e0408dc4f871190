"""JSON schemas of the arguments and answers of tools, and arguments read by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from qvsearch.errors import QvsearchError

T = TypeVar("T")

_WRONG = {  # by pydantic's type of an error: the end of a sentence that begins with the argument
    "missing": "is missing",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "string_too_long": "must have at most {max_length} characters",
    "enum": "must be {expected}",
    "string_type": "must be a text",
    "list_type": "must be a list",
}
_NUMBERS = {"int": "a whole number", "float": "a number", "bool": "true or false"}


def schema_of(record: type) -> dict[str, Any]:
    """Return the schema of a dataclass or TypedDict, short: without references and titles.

    Some clients refuse references and types with alternatives, so an optional value has one type.
    """
    whole = TypeAdapter(record).json_schema()
    return cast("dict[str, Any]", _short(whole, whole.get("$defs", {})))


def _short(schema: Any, definitions: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """Return a part of a schema with its references replaced."""
    if isinstance(schema, list):
        return [_short(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if reference := schema.get("$ref"):
        definition = _short(definitions[reference.rpartition("/")[2]], definitions)
        return definition | {name: each for name, each in schema.items() if name != "$ref"}
    if alternatives := schema.get("anyOf"):
        (only,) = (each for each in alternatives if each.get("type") != "null")
        rest = {name: each for name, each in schema.items() if name not in ("anyOf", "default")}
        return _short(only | rest, definitions)
    if "enum" in schema:  # whose description is a docstring of the code
        return {"type": "string", "enum": schema["enum"]}
    # the description of a whole record is the docstring of its class
    dropped = ("$defs", "title", *(["description"] if "properties" in schema else []))
    return {
        name: {key: _short(each, definitions) for key, each in value.items()}
        if name == "properties"
        else _short(value, definitions)
        for name, value in schema.items()
        if name not in dropped
    }


def read_arguments(record: type[T], tool: str, arguments: Mapping[str, object]) -> T:
    """Return the arguments of a call; raises QvsearchError, one sentence, for wrong ones.

    A null counts as an absent argument: some clients send all of them.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        return TypeAdapter(record).validate_python(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise QvsearchError(_sentence(record, tool, first)) from error


def _sentence(record: type, tool: str, error: Mapping[str, Any]) -> str:
    name = _argument(error["loc"])
    kind: str = error["type"]
    if kind == "unexpected_keyword_argument":
        names = ", ".join(schema_of(record)["properties"])
        return f"{tool} has no argument {name}; it has: {names}"
    if kind in _WRONG:
        return f"{name} {_WRONG[kind].format(**error.get('ctx', {}))}"
    number = _NUMBERS.get(kind.partition("_")[0])
    return f"{name} must be {number}" if number else f"{name}: {error['msg']}"


def _argument(location: Sequence[str | int]) -> str:
    """Return `kind` or `kind[0]` for the place of an error."""
    first, *rest = location
    return f"{first}" + "".join(f"[{each}]" for each in rest)
