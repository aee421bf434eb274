"""The world minisora learns from: Moving-MNIST in color and in words.

The first stage of the pipeline; numpy only. Reading order: digits, backgrounds, scene (the facts
and the physics), captions, drawing, moving_mnist.
"""

from .backgrounds import BACKGROUNDS
from .captions import VOCABULARY, caption, describe
from .digits import Digits, load_digits, load_moving_mnist_test
from .drawing import render
from .moving_mnist import Clip, MovingMNIST, WorldConfig
from .scene import COLORS, DIRECTIONS, HELD_OUT, SIZES, SPEEDS, DigitFacts, Scene

__all__ = [
    "BACKGROUNDS",
    "COLORS",
    "DIRECTIONS",
    "HELD_OUT",
    "SIZES",
    "SPEEDS",
    "VOCABULARY",
    "Clip",
    "DigitFacts",
    "Digits",
    "MovingMNIST",
    "Scene",
    "WorldConfig",
    "caption",
    "describe",
    "load_digits",
    "load_moving_mnist_test",
    "render",
]
