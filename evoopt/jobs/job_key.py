"""By what a job is known again after an interruption: all that it is to do, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np


def job_key(job: Any) -> str:
    """A digest of a job: of records, arrays, mappings, sequences, numbers and text, as deep as they go."""
    digest = hashlib.sha256()
    for part in _parts(job):
        digest.update(part)
    return digest.hexdigest()[:32]


def _parts(value: Any) -> Iterator[Any]:
    if is_dataclass(value):
        yield f"{type(value).__name__}(".encode()
        for field in fields(value):
            yield from _parts(getattr(value, field.name))
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype}{value.shape}".encode()
        yield np.ascontiguousarray(value).data
    elif isinstance(value, Mapping):
        yield f"{{{len(value)}".encode()
        for key in sorted(value):
            yield from _parts((key, value[key]))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield f"[{len(value)}".encode()
        for item in value:
            yield from _parts(item)
    else:
        # Numbers read from a checkpoint are Python's, whatever they were before.
        if isinstance(value, Real):
            value = int(value) if isinstance(value, Integral) else float(value)
        yield f"{value!r};".encode()
