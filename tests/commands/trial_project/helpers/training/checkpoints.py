"""Stands for the format of the checkpoint."""
