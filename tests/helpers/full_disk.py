"""A disk on which no file can grow beyond some bytes, as far as this process can tell."""

import contextlib
import sys

import pytest

needs_limits = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows cannot limit the size of a file"
)


@contextlib.contextmanager
def full_disk(limit=1000):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
