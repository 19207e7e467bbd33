"""A package of its own: a package that a sweep needs installs another ``tests``."""
