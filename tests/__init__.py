"""A package of its own: one of the packages that a sweep needs installs another one named ``tests``."""
