"""Checks of JSON objects that people may have written: their kind, version, names and types."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import Field
from typing import Any

from evoopt.errors import EvooptError


def check_header(data: Any, kind: str, *versions: int) -> dict[str, Any]:
    """Check ``kind`` and ``version`` of a JSON object and return the rest of it.

    Raises:
        EvooptError: Another kind of file or a version this package does not read.
    """
    require(isinstance(data, dict), f"expected a JSON object of kind {kind!r}")
    require(data.get("kind") == kind, f"expected kind {kind!r}, found {data.get('kind')!r}")
    found = data.get("version")
    read = " and ".join(str(version) for version in versions)
    require(
        any(found is not True and found == version for version in versions),
        f"{kind} version {found!r} is not supported, this evoopt reads version {read}",
    )
    return {name: value for name, value in data.items() if name not in ("kind", "version")}


def check_fields(
    what: str, body: dict[str, Any], known: Iterable[Field[Any]], skip: tuple[str, ...] = ()
) -> None:
    """Check names and types of a JSON object's values against a dataclass's fields.

    Raises:
        EvooptError: An unknown name or a value of another type.
    """
    kinds = {field.name: str(field.type) for field in known}
    for name, value in body.items():
        if name not in kinds:
            raise EvooptError(f"{what} has no field {name!r}; known: {', '.join(kinds)}")
        kind = kinds[name]
        good = (
            name in skip
            or (value is None and "None" in kind)
            or (kind == "bool" and isinstance(value, bool))
            or (kind == "str" and isinstance(value, str))
            or (kind in ("int", "int | None") and isinstance(value, int) and is_number(value))
            or ("float" in kind and is_number(value))
        )
        if not good:
            raise EvooptError(f"{what} field {name!r} must be of type {kind}, not {value!r}")


def is_number(value: Any) -> bool:
    """Whether a value read from JSON is a number that a float can hold."""
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return whole or isinstance(value, float)


def require(condition: bool, message: str) -> None:
    """Refuse what does not meet a condition.

    Raises:
        EvooptError: With the message.
    """
    if not condition:
        raise EvooptError(message)
