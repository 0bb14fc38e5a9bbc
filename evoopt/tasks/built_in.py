"""The tasks that come with the package."""

from __future__ import annotations

from functools import partial

from evoopt.tasks import datasets, models
from evoopt.tasks.autoencoders import AUTOENCODERS
from evoopt.tasks.datasets import crop_and_flip, image_set_loader, load_digits
from evoopt.tasks.faces import faces_loader
from evoopt.tasks.genetic_models import GENETIC_TASKS
from evoopt.tasks.iwslt import TRANSLATIONS
from evoopt.tasks.p3b1 import load_p3b1
from evoopt.tasks.rpv import binary_accuracy, binary_loss, load_rpv
from evoopt.tasks.sequences import SEQUENCES
from evoopt.tasks.small_tables import SMALL_TABLES
from evoopt.tasks.stand_ins import STAND_INS
from evoopt.tasks.synthetic import SYNTHETIC
from evoopt.tasks.tabular import load_adult, load_adult_raw, load_letter, load_yeast
from evoopt.tasks.task import Task

_GREY_IMAGES = (("mnist", "MNIST"), ("fashion_mnist", "Fashion-MNIST"))
_shift_and_flip = partial(crop_and_flip, padding=3, fill=datasets.CIFAR10.black)

_SMALL = (
    Task(
        "digits",
        partial(models.MLP, 64, 32, 10),
        load_digits,
        batch_size=32,
        description="scikit-learn's 8x8 digits (embedded), MLP 64-32-10",
        family="images",
    ),
    Task(
        "digits_cnn",
        models.SmallDigitsCNN,
        load_digits,
        batch_size=32,
        description="scikit-learn's 8x8 digits (embedded), CNN with 6,090 parameters",
        family="images",
    ),
    *(
        Task(
            f"{name}_mlp",
            partial(models.MLP, 784, 64, 10),
            image_set_loader(name),
            description=f"{title}, MLP 784-64-10",
            family="images",
        )
        for name, title in _GREY_IMAGES
    ),
)

_NARROW = (
    Task(
        "fashion_mnist_mlp128",
        partial(models.MLP, 784, 128, 128, 10),
        image_set_loader("fashion_mnist"),
        description="Fashion-MNIST, MLP 784-128-128-10",
        family="images",
    ),
    Task(
        "letter_mlp128",
        partial(models.MLP, 16, 128, 128, 26),
        load_letter,
        description="UCI LETTER, MLP 16-128-128-26",
        family="tables",
    ),
    *(
        Task(
            f"{name}_cnn_small",
            partial(models.NarrowCNN, channels, side),
            image_set_loader(name),
            batch_size=64,
            description=f"{title}, CNN with {parameters} parameters",
            family="images",
        )
        for name, title, channels, side, parameters in (
            ("fashion_mnist", "Fashion-MNIST", 1, 28, "105,866"),
            ("cifar10", "CIFAR-10", 3, 32, "136,874"),
        )
    ),
)

_MARFINETZ = (
    *(
        Task(
            name,
            models.SmallCNN,
            image_set_loader(name),
            description=f"{title}, CNN with 824,458 parameters",
            family="images",
        )
        for name, title in _GREY_IMAGES
    ),
    Task(
        "cifar10",
        models.CIFAR10CNN,
        image_set_loader("cifar10"),
        augment=partial(crop_and_flip, padding=4, fill=datasets.CIFAR10.black),
        description="CIFAR-10, CNN with 2,168,554 parameters, random crops and flips",
        family="images",
    ),
)

_GADAM = (
    Task(
        "mnist_lenet5",
        models.LeNet5,
        image_set_loader("mnist"),
        description="MNIST, LeNet-5 with dropout, 61,706 parameters",
        family="images",
    ),
    *(
        Task(
            f"orl{count}",
            models.FacesCNN,
            faces_loader(count),
            batch_size=32,
            description=f"ORL faces, {count} of each 10 images to train on, CNN with 5,593,064 parameters",
            family="images",
        )
        for count in (5, 7, 9)
    ),
    Task(
        "yeast",
        partial(models.MLP, 8, 50, 30, 10),
        load_yeast,
        batch_size=32,
        description="UCI YEAST, MLP 8-50-30-10",
        family="tables",
    ),
    Task(
        "adult",
        partial(models.MLP, 108, 30, 20, 2),
        load_adult,
        description="UCI ADULT, one column per category, MLP 108-30-20-2",
        family="tables",
    ),
    Task(
        "adult_raw",
        partial(models.MLP, 14, 30, 20, 2),
        load_adult_raw,
        description="UCI ADULT, one column per attribute, MLP 14-30-20-2",
        family="tables",
    ),
    Task(
        "letter",
        partial(models.MLP, 16, 70, 50, 26),
        load_letter,
        description="UCI LETTER, MLP 16-70-50-26",
        family="tables",
    ),
)

_VOSE = (
    Task(
        "mnist_lenet_hpo",
        models.VariableLeNet,
        image_set_loader("mnist"),
        batch_size=100,
        description="MNIST, LeNet of variable size, by default 3,274,634 parameters",
        family="images",
    ),
    Task(
        "cifar10_resnet20",
        models.ResNet20,
        image_set_loader("cifar10"),
        batch_size=32,
        augment=_shift_and_flip,
        description="CIFAR-10, ResNet-20 with 273,066 parameters, random shifts and flips",
        family="images",
    ),
    Task(
        "cifar10_capsnet",
        models.CapsNet,
        image_set_loader("cifar10"),
        loss=models.margin_loss,
        augment=_shift_and_flip,
        description="CIFAR-10, capsule network with 280,640 parameters, random shifts and flips",
        family="images",
    ),
    *TRANSLATIONS,
    Task(
        "rpv",
        models.RPVNetwork,
        load_rpv,
        loss=binary_loss,
        metric=binary_accuracy,
        description="NERSC's RPV events (not public), CNN with 137,233 parameters",
        family="images",
    ),
    Task(
        "p3b1",
        models.P3B1Network,
        load_p3b1,
        batch_size=10,
        loss=models.multitask_loss,
        metric=models.multitask_accuracy,
        description="CANDLE P3B1, three classifications of pathology reports, 9,151,219 parameters",
        family="tables",
    ),
)

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        *_SMALL, *SMALL_TABLES, *AUTOENCODERS, *SEQUENCES, *SYNTHETIC, *_NARROW,
        *_MARFINETZ, *_GADAM, *GENETIC_TASKS, *_VOSE, *STAND_INS,
    )
}  # fmt: skip
"""The built-in tasks by name."""

EMBEDDED: tuple[str, ...] = (
    "digits", "digits_cnn", "genetic_digits",
    *(task.name for task in (*SMALL_TABLES, *AUTOENCODERS[:1], *SEQUENCES[:1], *SYNTHETIC, *STAND_INS[1:])),
)  # fmt: skip
"""Those whose data need no files."""
