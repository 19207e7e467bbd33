"""Give up special rights for a moment, so that rights to files count even for root."""

import contextlib
import os
from collections.abc import Iterator

NOBODY = 65534


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """Inside this block the process is a user who owns nothing, if it was root."""
    was_root = os.name != "nt" and os.geteuid() == 0
    if was_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if was_root:
            os.seteuid(0)
