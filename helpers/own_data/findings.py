"""What the pre-flight report says of one thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass

from helpers import figures

OK, DECIDE, REPAIR = "ok", "decide", "repair"


@dataclass(frozen=True)
class Finding:
    """One row of the report.

    Attributes
    ----------
    check
        What was looked at.
    found
        What there is, and where.
    verdict
        "ok"; "decide" (it runs, but look whether you mean it); "repair" (it would fail, or give
        wrong results).
    advice
        What to do; empty if nothing.
    call
        The line of Python that does it; empty if no line can.
    """

    check: str
    found: str
    verdict: str = OK
    advice: str = ""
    call: str = ""


def megabytes(n_bytes: float) -> str:
    """Return a number of bytes as text, in MB or GB."""
    return f"{figures.about(n_bytes / 1e6, 2)} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:.1f} GB"
