"""UCI's data sets YEAST, ADULT and LETTER, from the original files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evoopt.tasks.image_folders import DataFiles, find_folder
from evoopt.tasks.tables import codes, numbers, read_columns, split_table
from evoopt.tasks.task import DataOptions, TaskData

_UCI = "https://archive.ics.uci.edu/dataset"
YEAST = DataFiles("yeast", ("yeast.data",), f"{_UCI}/110/yeast", ("yeast", "uci"))
ADULT = DataFiles("adult", ("adult.data", "adult.test"), f"{_UCI}/2/adult", ("adult", "uci"))
LETTER = DataFiles("letter", ("letter-recognition.data",), f"{_UCI}/59/letter+recognition", ("letter", "uci"))

_YEAST_ROWS, _YEAST_TRAINING = 1_484, 1_038
_LETTER_ROWS, _LETTER_TRAINING = 20_000, 16_000
_ADULT_ROWS = (32_561, 16_281)

_PROTEIN_SITES = ("CYT", "NUC", "MIT", "ME3", "ME2", "ME1", "EXC", "VAC", "POX", "ERL")
_LETTERS = [chr(ord("A") + i) for i in range(26)]
_INCOMES = ("<=50K", ">50K")

# Attributes in the order of the columns, categories in the order of UCI's description; numbers have none. The
# three attributes that lack values in some rows have "?" for a category.
_ADULT_CATEGORIES = {
    "age": "",
    "workclass": "? Private Self-emp-not-inc Self-emp-inc Federal-gov Local-gov State-gov Without-pay "
    "Never-worked",
    "fnlwgt": "",
    "education": "Bachelors Some-college 11th HS-grad Prof-school Assoc-acdm Assoc-voc 9th 7th-8th 12th "
    "Masters 1st-4th 10th Doctorate 5th-6th Preschool",
    "education-num": "",
    "marital-status": "Married-civ-spouse Divorced Never-married Separated Widowed Married-spouse-absent "
    "Married-AF-spouse",
    "occupation": "? Tech-support Craft-repair Other-service Sales Exec-managerial Prof-specialty "
    "Handlers-cleaners Machine-op-inspct Adm-clerical Farming-fishing Transport-moving Priv-house-serv "
    "Protective-serv Armed-Forces",
    "relationship": "Wife Own-child Husband Not-in-family Other-relative Unmarried",
    "race": "White Asian-Pac-Islander Amer-Indian-Eskimo Other Black",
    "sex": "Female Male",
    "capital-gain": "",
    "capital-loss": "",
    "hours-per-week": "",
    "native-country": "? United-States Cambodia England Puerto-Rico Canada Germany "
    "Outlying-US(Guam-USVI-etc) India Japan Greece South China Cuba Iran Honduras Philippines Italy Poland "
    "Jamaica Vietnam Mexico Portugal Ireland France Dominican-Republic Laos Ecuador Taiwan Haiti Columbia "
    "Hungary Guatemala Nicaragua Scotland Thailand Yugoslavia El-Salvador Trinadad&Tobago Peru Hong "
    "Holand-Netherlands",
}


def load_yeast(options: DataOptions) -> TaskData:
    """Load YEAST: 8 features, 10 classes, 1,038 training and 446 test examples, the same for every seed.

    The division is drawn as gcForest (Zhou & Feng 2017) draws it, by scikit-learn with random state 0.
    """
    from sklearn.model_selection import train_test_split

    path = find_folder(YEAST, options) / YEAST.files[0]
    _, *features, sites = read_columns(path, 10, _YEAST_ROWS, separator=None)
    x = np.stack([numbers(path, values) for values in features], axis=1)
    y = codes(path, sites, _PROTEIN_SITES)
    train, test = train_test_split(np.arange(len(y)), train_size=_YEAST_TRAINING, random_state=0, stratify=y)
    return split_table(x[train], y[train], x[test], y[test], options)


def load_letter(options: DataOptions) -> TaskData:
    """Load LETTER: 16 features, 26 classes; the first 16,000 rows to train on, the last 4,000 to test on."""
    path = find_folder(LETTER, options) / LETTER.files[0]
    letters, *features = read_columns(path, 17, _LETTER_ROWS)
    x = np.stack([numbers(path, values) for values in features], axis=1)
    y = codes(path, letters, _LETTERS)
    end = _LETTER_TRAINING
    return split_table(x[:end], y[:end], x[end:], y[end:], options)


def load_adult(options: DataOptions) -> TaskData:
    """Load ADULT with a column of 0 and 1 per category: 108 features, 2 classes, 32,561 and 16,281 examples.

    A missing value is a category of its own in the three attributes that lack some; numbers are normalised.
    """
    return _load_adult(options, one_hot=True)


def load_adult_raw(options: DataOptions) -> TaskData:
    """Load ADULT with a column per attribute: 14 features; categories are numbered in UCI's order."""
    return _load_adult(options, one_hot=False)


def _load_adult(options: DataOptions, one_hot: bool) -> TaskData:
    folder = find_folder(ADULT, options)
    (x_train, y_train), (x_test, y_test) = (
        _adult_part(folder / name, rows, one_hot) for name, rows in zip(ADULT.files, _ADULT_ROWS, strict=True)
    )
    categories = [len(names.split()) if one_hot else 0 for names in _ADULT_CATEGORIES.values()]
    scaled = np.repeat([count == 0 for count in categories], [max(1, count) for count in categories])
    return split_table(x_train, y_train, x_test, y_test, options, scaled)


def _adult_part(path: Path, rows: int, one_hot: bool) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    *attributes, incomes = read_columns(path, len(_ADULT_CATEGORIES) + 1, rows)
    blocks = []
    for values, text in zip(attributes, _ADULT_CATEGORIES.values(), strict=True):
        names = text.split()
        if not names:
            blocks.append(numbers(path, values)[:, None])
        elif one_hot:
            blocks.append(np.eye(len(names))[codes(path, values, names)])
        else:
            blocks.append(codes(path, values, names)[:, None].astype(np.float64))
    # In the test file, and only there, incomes end with a full stop.
    return np.concatenate(blocks, axis=1), codes(path, [text.rstrip(".") for text in incomes], _INCOMES)
