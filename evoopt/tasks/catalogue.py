"""The built-in tasks in words: written by ``python -m evoopt.tasks.write_catalogue``."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """Family, metric and description of a task, see `evoopt.tasks.Task`."""

    family: str
    metric: str
    description: str


CATALOGUE: dict[str, Entry] = {
    "digits": Entry(
        "images",
        "accuracy",
        "scikit-learn's 8x8 digits (embedded), MLP 64-32-10",
    ),
    "digits_cnn": Entry(
        "images",
        "accuracy",
        "scikit-learn's 8x8 digits (embedded), CNN with 6,090 parameters",
    ),
    "mnist_mlp": Entry(
        "images",
        "accuracy",
        "MNIST, MLP 784-64-10",
    ),
    "fashion_mnist_mlp": Entry(
        "images",
        "accuracy",
        "Fashion-MNIST, MLP 784-64-10",
    ),
    "breast_cancer": Entry(
        "tables",
        "quadratic score",
        "scikit-learn's breast cancer (embedded), MLP 30-32-32-2",
    ),
    "wine": Entry(
        "tables",
        "quadratic score",
        "scikit-learn's wine (embedded), MLP 13-32-32-3",
    ),
    "digits_autoencoder": Entry(
        "autoencoders",
        "pixel variance",
        "scikit-learn's 8x8 digits (embedded), autoencoder 64-32-8-32-64 with tanh",
    ),
    "mnist_autoencoder": Entry(
        "autoencoders",
        "pixel variance",
        "MNIST, autoencoder 784-256-64-16-64-256-784 with tanh",
    ),
    "digits_rows": Entry(
        "sequences",
        "accuracy",
        "scikit-learn's 8x8 digits (embedded) as 8 rows, transformer of 2 blocks",
    ),
    "characters": Entry(
        "sequences",
        "likelihood",
        "tinyshakespeare, next of 64 characters, transformer of 2 blocks",
    ),
    "language": Entry(
        "sequences",
        "perplexity score",
        "tinyshakespeare, next of 64 bytes, transformer with 470,528 parameters",
    ),
    "heavy_tail": Entry(
        "long tails",
        "balanced accuracy",
        "512 classes with frequencies of 1/rank (made up), MLP 64-64-512",
    ),
    "associative_memory": Entry(
        "memory",
        "balanced accuracy",
        "512 facts with frequencies of 1/rank (made up), one matrix of 64x64",
    ),
    "teacher_student": Entry(
        "regression",
        "explained variance",
        "a random network on badly conditioned inputs (made up), MLP 32-64-64-4",
    ),
    "deep_narrow": Entry(
        "regression",
        "explained variance",
        "a sum of plane waves (made up), MLP 2-16-16-16-16-16-16-1 with tanh",
    ),
    "fashion_mnist_mlp128": Entry(
        "images",
        "accuracy",
        "Fashion-MNIST, MLP 784-128-128-10",
    ),
    "letter_mlp128": Entry(
        "tables",
        "accuracy",
        "UCI LETTER, MLP 16-128-128-26",
    ),
    "fashion_mnist_cnn_small": Entry(
        "images",
        "accuracy",
        "Fashion-MNIST, CNN with 105,866 parameters",
    ),
    "cifar10_cnn_small": Entry(
        "images",
        "accuracy",
        "CIFAR-10, CNN with 136,874 parameters",
    ),
    "mnist": Entry(
        "images",
        "accuracy",
        "MNIST, CNN with 824,458 parameters",
    ),
    "fashion_mnist": Entry(
        "images",
        "accuracy",
        "Fashion-MNIST, CNN with 824,458 parameters",
    ),
    "cifar10": Entry(
        "images",
        "accuracy",
        "CIFAR-10, CNN with 2,168,554 parameters, random crops and flips",
    ),
    "mnist_lenet5": Entry(
        "images",
        "accuracy",
        "MNIST, LeNet-5 with dropout, 61,706 parameters",
    ),
    "orl5": Entry(
        "images",
        "accuracy",
        "ORL faces, 5 of each 10 images to train on, CNN with 5,593,064 parameters",
    ),
    "orl7": Entry(
        "images",
        "accuracy",
        "ORL faces, 7 of each 10 images to train on, CNN with 5,593,064 parameters",
    ),
    "orl9": Entry(
        "images",
        "accuracy",
        "ORL faces, 9 of each 10 images to train on, CNN with 5,593,064 parameters",
    ),
    "yeast": Entry(
        "tables",
        "accuracy",
        "UCI YEAST, MLP 8-50-30-10",
    ),
    "adult": Entry(
        "tables",
        "accuracy",
        "UCI ADULT, one column per category, MLP 108-30-20-2",
    ),
    "adult_raw": Entry(
        "tables",
        "accuracy",
        "UCI ADULT, one column per attribute, MLP 14-30-20-2",
    ),
    "letter": Entry(
        "tables",
        "accuracy",
        "UCI LETTER, MLP 16-70-50-26",
    ),
    "genetic_digits": Entry(
        "images",
        "accuracy",
        "scikit-learn's 8x8 digits (embedded), CNN with 1,552 parameters and 50 genes",
    ),
    "genetic_mnist": Entry(
        "images",
        "accuracy",
        "MNIST, CNN with 4,540 parameters and 116 genes",
    ),
    "genetic_mnist_136": Entry(
        "images",
        "accuracy",
        "MNIST, CNN with 4,540 parameters and 136 genes, the other reading of the publication",
    ),
    "genetic_cifar10_rgb": Entry(
        "images",
        "accuracy",
        "CIFAR-10 in colour, LeNet with 292,170 parameters and 356 genes",
    ),
    "genetic_cifar10": Entry(
        "images",
        "accuracy",
        "CIFAR-10 in grayscale, LeNet with 291,870 parameters and 356 genes",
    ),
    "mnist_lenet_hpo": Entry(
        "images",
        "accuracy",
        "MNIST, LeNet of variable size, by default 3,274,634 parameters",
    ),
    "cifar10_resnet20": Entry(
        "images",
        "accuracy",
        "CIFAR-10, ResNet-20 with 273,066 parameters, random shifts and flips",
    ),
    "cifar10_capsnet": Entry(
        "images",
        "accuracy",
        "CIFAR-10, capsule network with 280,640 parameters, random shifts and flips",
    ),
    "iwslt_vi_en": Entry(
        "sequences",
        "token accuracy",
        "IWSLT'15 Vietnamese to English (tst2012, tst2013), GRUs with attention",
    ),
    "iwslt_vi_en_full": Entry(
        "sequences",
        "token accuracy",
        "the same, with the published vocabularies of 7,709 and 17,191 words",
    ),
    "rpv": Entry(
        "images",
        "binary accuracy",
        "NERSC's RPV events (not public), CNN with 137,233 parameters",
    ),
    "p3b1": Entry(
        "tables",
        "multitask accuracy",
        "CANDLE P3B1, three classifications of pathology reports, 9,151,219 parameters",
    ),
    "p3b1_f1": Entry(
        "tables",
        "multitask f1",
        "CANDLE P3B1, scored by how much of the published F1 is reached",
    ),
    "p3b1_stand_in": Entry(
        "tables",
        "multitask f1",
        "in place of P3B1: three classifications of 400 features (made up), the same network",
    ),
    "rpv_stand_in": Entry(
        "images",
        "binary accuracy",
        "in place of RPV: images of 64x64x3 with 6 or 9 deposits (made up), the same network",
    ),
}


def metric_of(task: str) -> str:
    """What a task's metric is called; that of a person's own task has no name."""
    return CATALOGUE[task].metric if task in CATALOGUE else "metric"
