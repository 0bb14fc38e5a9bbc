"""Inputs that mean harm: any JSON, and valid files with something changed in them."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

ODD_TEXT = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "", " ", "\0", "../../x", "/etc/passwd", "a" * 5000, '"""', "'''", "\\", "{{7*7}}", "${HOME}",
            "__import__('os').system('touch hacked')", "\ud800", "nan", "1e999", "True", "adam", "cuda:99",
            '"><script>alert(1)</script>',
        ]
    ),
)  # fmt: skip
ODD_NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**30, 10**400, -0.0, 1e308, 5e-324]),
    st.floats(),
)
SCALARS = st.one_of(st.none(), st.booleans(), ODD_NUMBERS, ODD_TEXT)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ODD_TEXT, inner, max_size=4),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in nested lists and tables, the root left out."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, inner in items:
        found += [(*path, key), *places(inner, (*path, key))]
    return found


@st.composite
def changed(draw: st.DrawFn, valid: Any, values: st.SearchStrategy[Any] = JSON) -> Any:
    """A valid value with up to three places replaced, removed, renamed or doubled."""
    value = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 3))):
        found = places(value)
        if not found:
            return draw(values)
        *path, last = draw(st.sampled_from(found))
        parent = value
        for key in path:
            parent = parent[key]
        action = draw(st.sampled_from(("replace", "replace", "replace", "remove", "rename", "double")))
        if action == "replace":
            parent[last] = draw(values)
        elif action == "remove":
            del parent[last]
        elif isinstance(parent, dict):
            other = draw(ODD_TEXT)
            parent[other] = parent[last] if action == "double" else parent.pop(last)
        else:
            parent.append(parent[last])
    return value


@st.composite
def changed_bytes(draw: st.DrawFn, valid: bytes) -> bytes:
    """A valid file with up to four stretches overwritten, removed or inserted."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(0, 20))
        data[start : start + length] = draw(st.binary(max_size=20))
    return bytes(data)
