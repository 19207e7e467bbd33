"""Experiments that take minutes: each is made once, and keeps its result in ``docs/results/``."""
