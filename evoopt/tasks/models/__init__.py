"""Model architectures of the built-in tasks.

All randomness in training comes from `torch.nn.Dropout` modules, which training engines replace by their own
stream of masks.
"""

from __future__ import annotations

from evoopt.tasks.models.capsules import CapsNet, margin_loss
from evoopt.tasks.models.convolutional import FacesCNN, LeNet5, RPVNetwork, VariableLeNet
from evoopt.tasks.models.multitask import P3B1Network, multitask_accuracy, multitask_f1, multitask_loss
from evoopt.tasks.models.resnet import ResNet20
from evoopt.tasks.models.small import CIFAR10CNN, MLP, NarrowCNN, SmallCNN, SmallDigitsCNN
from evoopt.tasks.models.transformer import Transformer
from evoopt.tasks.models.translation import Translator, token_accuracy, token_loss

__all__ = [
    "CIFAR10CNN",
    "MLP",
    "CapsNet",
    "FacesCNN",
    "LeNet5",
    "NarrowCNN",
    "P3B1Network",
    "RPVNetwork",
    "ResNet20",
    "SmallCNN",
    "SmallDigitsCNN",
    "Transformer",
    "Translator",
    "VariableLeNet",
    "margin_loss",
    "multitask_accuracy",
    "multitask_f1",
    "multitask_loss",
    "token_accuracy",
    "token_loss",
]
