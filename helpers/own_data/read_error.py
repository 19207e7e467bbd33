"""Why a file could not be read."""


class ReadError(ValueError):
    """A file could not be read; the message says which one, why, and what to do."""
