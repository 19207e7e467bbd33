"""What would go wrong in class with some values of the Helm chart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from helpers.scale import classroom
from publishing import hub

# Let everybody in, or everybody with one password that is soon known.
OPEN_AUTHENTICATORS = (
    "dummy",
    "dummyauthenticator.DummyAuthenticator",
    "null",
    "shared-password",
    "tmp",
)


def problems(values: Mapping[str, Any], measured: Mapping[str, Any]) -> list[str]:
    """Look for what would go wrong in class.

    Parameters
    ----------
    values
        The values of the Helm chart, parsed.
    measured
        As from ``classroom.load``.

    Returns
    -------
    list of str
        One sentence per problem; what is missing counts as one.
    """
    user = values.get("singleuser", {})
    found = [
        *_memory_problems(user.get("memory", {}), measured),
        *_cpu_problems(user.get("cpu", {})),
    ]
    if not values.get("cull", {}).get("enabled"):
        found.append(
            "Culling is off: servers that nobody uses keep their memory. Set cull.enabled: true."
        )
    chosen = (
        values.get("hub", {})
        .get("config", {})
        .get("JupyterHub", {})
        .get("authenticator_class", "dummy")
    )
    if chosen == hub.PLACEHOLDER:
        found.append(
            "No authenticator is chosen yet, so the hub does not start. Set "
            "hub.config.JupyterHub.authenticator_class."
        )
    elif chosen in OPEN_AUTHENTICATORS:
        found.append(
            f"The authenticator '{chosen}' lets in whoever finds the page. Choose one that asks "
            "who it is."
        )
    return found


def _memory_problems(asked: Mapping[str, Any], measured: Mapping[str, Any]) -> list[str]:
    try:
        guarantee, limit = mebibytes(asked.get("guarantee", 0)), mebibytes(asked.get("limit", 0))
    except ValueError as error:
        return [str(error)]
    found = []
    needed = classroom.memory(measured).loc["together", "one kernel"]
    if guarantee < needed:
        found.append(
            f"{guarantee:,.0f} MiB of memory are set aside for a learner, and a lesson with its "
            f"margin needs {needed:,}: some kernels would be killed. Raise "
            "singleuser.memory.guarantee."
        )
    if limit < guarantee:
        found.append(
            f"The limit of {limit:,.0f} MiB is below the {guarantee:,.0f} MiB that are set aside. "
            "Raise singleuser.memory.limit."
        )
    return found


def _cpu_problems(asked: Mapping[str, Any]) -> list[str]:
    guarantee, limit = asked.get("guarantee") or 0, asked.get("limit") or 0
    if 0 < guarantee <= limit:
        return []
    return [
        f"Of the cores, {guarantee:g} are set aside and {limit:g} are the limit; neither may be 0, "
        "and the limit not the smaller. Change singleuser.cpu."
    ]


def mebibytes(quantity: str | float) -> float:
    """Read an amount of memory as JupyterHub does.

    Bytes, or a number with K, M, G or T, each 1,024 times the one before.

    Raises
    ------
    ValueError
        If it is something else. Kubernetes itself also knows Mi and Gi; JupyterHub does not.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", str(quantity))
    if match is None:
        raise ValueError(
            f"'{quantity}' is no amount of memory for JupyterHub. What to do: write it like 1280M "
            "or 1.5G."
        )
    return float(match[1]) * 1024 ** ("KMGT".index(match[2]) - 1 if match[2] else -2)
