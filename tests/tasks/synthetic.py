"""Writes small made-up data sets in the files of their publishers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from evoopt.tasks import p3b1, tabular
from evoopt.tasks.faces import IMAGES, PEOPLE
from evoopt.tasks.rpv import CHANNELS

HAS_H5PY = importlib.util.find_spec("h5py") is not None
needs_h5py = pytest.mark.skipif(not HAS_H5PY, reason="needs h5py")

ADULT_ROW = (
    "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, 2174, 0, "
    "40, United-States, <=50K"
)


def adult_row(dot: str = "", **changes: str) -> str:
    """A row of ADULT with other values for some attributes, named with underscores, and for ``income``."""
    names = [*(name.replace("-", "_") for name in tabular._ADULT_CATEGORIES), "income"]
    row = dict(zip(names, ADULT_ROW.split(", ")))
    assert row.keys() >= changes.keys()
    return ", ".join({**row, **changes}.values()) + dot


def write_adult(folder: Path, train: int = 32_561, test: int = 16_281) -> None:
    kinds = [
        {
            "age": str(20 + k),
            "income": ">50K" if k % 4 == 0 else "<=50K",
            "workclass": "?" if k == 5 else "Private",
        }
        for k in range(40)
    ]
    for name, count, dot in (("adult.data", train, ""), ("adult.test", test, ".")):
        rows = [adult_row(dot, **kind) for kind in kinds]
        head = ["|1x3 Cross validator"] if dot else []
        lines = [*head, *(rows[k % len(rows)] for k in range(count)), "", ""]
        (folder / name).write_text("\n".join(lines))


def write_yeast(folder: Path, rows: int = 1_484) -> None:
    rng = np.random.default_rng(0)
    sites = tabular._PROTEIN_SITES
    lines = [
        "  ".join([f"P{k}_YEAST", *(f"{x:.2f}" for x in rng.random(8)), sites[k % len(sites)]])
        for k in range(rows)
    ]
    (folder / "yeast.data").write_text("\n".join(lines) + "\n")


def write_letter(folder: Path, rows: int = 20_000) -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 16, (rows, 16)).tolist()
    lines = [",".join([chr(65 + k % 26), *map(str, row)]) for k, row in enumerate(table)]
    (folder / "letter-recognition.data").write_text("\n".join(lines) + "\n")


def write_faces(folder: Path) -> None:
    """Every pixel of a person's image has the value ``4 * person + image``, counted from 1."""
    for person in range(1, PEOPLE + 1):
        (folder / f"s{person}").mkdir(parents=True)
        for image in range(1, IMAGES + 1):
            pixels = bytes([4 * person + image]) * (92 * 112)
            (folder / f"s{person}" / f"{image}.pgm").write_bytes(b"P5\n92 112\n255\n" + pixels)


def write_sentences(folder: Path, train: int = 60, test: int = 20) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("tst2012", train), ("tst2013", test)):
        for language in ("vi", "en"):
            lines = [
                " ".join(f"{language}{word}" for word in rng.integers(0, 30, rng.integers(1, 60)))
                for _ in range(count)
            ]
            (folder / f"{part}.{language}").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_characters(folder: Path, sequences: int = 80) -> str:
    """Text of 65 different characters, one more than so many sequences of 64; returns it."""
    rng = np.random.default_rng(0)
    text = "".join(chr(48 + code) for code in [*range(65), *rng.integers(0, 65, 64 * (sequences - 1))])
    (folder / "input.txt").write_text(text, encoding="ascii")
    return text


def write_p3b1(folder: Path, rows: int = 24) -> None:
    rng = np.random.default_rng(0)
    for head, classes in enumerate(p3b1.P3B1_CLASSES):
        for part, count in (("train", rows * (head + 1)), ("test", rows // 2)):
            features = np.round(rng.random((count, p3b1.FEATURES)), 2)
            np.savetxt(folder / f"task{head}_0_{part}_feature.csv", features, delimiter=",", fmt="%.2f")
            np.savetxt(folder / f"task{head}_0_{part}_label.csv", np.arange(count) % classes)


def write_rpv(folder: Path, train: int = 60, test: int = 20) -> None:
    """Event k has the label ``k % 2``; its pixels are k in the first channel, 2k and 3k in the others."""
    import h5py

    for name, count in (("train", train), ("test", test)):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            group = file.create_group("all_events")
            events = np.arange(count, dtype=np.float32)
            group["y"] = (events % 2).astype(np.int64)
            group["weight"] = np.ones(count)
            for factor, channel in enumerate(CHANNELS, start=1):
                group[channel] = np.broadcast_to(factor * events[:, None, None], (count, 64, 64))


def write_all(folder: Path) -> None:
    for write in (write_adult, write_yeast, write_letter, write_sentences, write_characters, write_p3b1):
        write(folder)
    write_faces(folder / "orl_faces")
    if HAS_H5PY:
        write_rpv(folder)
