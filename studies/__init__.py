"""Experiments that take minutes, each a module that declares itself and keeps what it finds."""
