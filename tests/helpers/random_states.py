"""Where the random numbers of the session stand."""

import random

import numpy as np
import torch


def random_states():
    _, key, position, *_ = np.random.get_state()  # noqa: NPY002 -- the generator of the session
    return random.getstate(), list(key), position, torch.get_rng_state().tolist()


def move_random_states():
    np.random.normal(size=3)  # noqa: NPY002 -- moves the global generator on purpose
    torch.rand(3)
