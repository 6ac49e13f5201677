"""Checks values against a model; what is wrong is said in one line, with keys as on the command line."""

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from nasmeta.errors import ConfigError, suggest

M = TypeVar("M", bound=BaseModel)
Strict = ConfigDict(
    extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True, allow_inf_nan=False
)

MAX_KEY = 80
"""How many characters of a key are told; one in a stored file may have any number."""


def validated(model: type[M], values: Mapping[str, Any], prefix: str) -> M:
    """The model with these values. Raises ConfigError, one line that names each wrong key after `prefix`."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_line(model, problem, prefix) for problem in error.errors(include_url=False)]
        raise ConfigError("; ".join(dict.fromkeys(lines))) from error


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong in a stored file, in one line: its key, if it has one, and the reason."""
    problem = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(str(part)[:MAX_KEY] for part in problem["loc"])
    return f"{key}: {problem['msg']}" if key else problem["msg"]


def _line(model: type[BaseModel], problem: Any, prefix: str) -> str:
    """The message for one problem that pydantic found, with keys as on the command line."""
    place: Any = model
    siblings: Any = {}
    names: list[str] = []
    for part in map(str, problem["loc"]):  # keep keys and indices; unions add the names of their members
        siblings = _fields(place)
        if part in siblings or part.isdigit() or get_origin(place) is dict:
            names.append(part)
            place = siblings[part].annotation if part in siblings else next(iter(get_args(place)[1:]), None)
    if problem["type"] == "extra_forbidden":
        name = str(problem["loc"][-1])
        return f"{prefix}{'.'.join([*names, name])}: no such key; {suggest(name, siblings)}"
    key = prefix + ".".join(names)
    if problem["type"] == "missing":
        return f"{key}: missing; add {key}=VALUE"
    if problem["type"] == "model_type":
        inner = ", ".join(f"{key}.{name}" for name in _fields(place))
        return f"{key}: got {problem['input']!r}, has keys of its own: {inner}"
    if problem["type"] == "callable_type":  # an option inside an option
        return f"{key}: got {problem['input']!r}, choose one: {key.partition('.')[0]}@{key}=NAME"
    if problem["type"] == "list_type":
        return f"{key}: got {problem['input']!r}, should be a list: {key}=[{problem['input']}]"
    message = problem["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return f"{key}: got {problem['input']!r}, {message}"


def _fields(annotation: Any) -> dict[str, FieldInfo]:
    """The fields of a model, or of all models that a union has."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation.model_fields
    if get_origin(annotation) is dict:
        return {}
    return {name: each for part in get_args(annotation) for name, each in _fields(part).items()}
