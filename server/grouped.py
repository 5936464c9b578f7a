"""Groups of arguments of tools and commands: dataclasses whose fields are parameters of their own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

R = TypeVar("R")


def grouped(function: Callable[..., R], **given: Any) -> Callable[..., R]:
    """The function with the fields of dataclass parameters as keyword parameters of their own.

    Parameters and fields in `given` have these values, and are no parameters of the returned function.
    """
    hints = get_type_hints(function, include_extras=True)
    hints = {name: hint for name, hint in hints.items() if name not in given and name != "return"}
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in groups:
            parameters += [one for one in _parameters(groups[name]) if one.name not in given]
        elif name not in given:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name]))

    @functools.wraps(function)
    def run(**values: Any) -> R:
        values |= given
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        return function(**values)

    return with_parameters(run, parameters)


def with_parameters(wrapper: Callable[..., R], parameters: Iterable[inspect.Parameter]) -> Callable[..., R]:
    """The function, which takes any keyword arguments, with a signature of these parameters."""
    signature = inspect.Signature(tuple(parameters))
    wrapper.__signature__ = signature  # type: ignore[attr-defined]
    wrapper.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return wrapper


def parameters_of(function: Callable[..., object]) -> list[inspect.Parameter]:
    """The parameters of a grouped function."""
    return list(inspect.signature(function).parameters.values())


def _parameters(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]
