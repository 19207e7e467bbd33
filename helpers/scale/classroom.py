"""What a class on JupyterHub needs, computed from what the lessons were measured to take.

``python -m publishing.classroom`` (``make classroom``) writes ``docs/jupyterhub.md`` and
``docs/jupyterhub-values.yaml`` from ``docs/measurements.json``.
"""

from __future__ import annotations

import json
import math
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.paths import DOCS, ROOT

MEASUREMENTS = DOCS / "measurements.json"
VALUES = DOCS / "jupyterhub-values.yaml"
PAGE = DOCS / "jupyterhub.md"

LEARNERS = 200

# What Lab's own server takes beside the kernels, in MiB; measured once by hand.
LAB_SERVER = 85

# For what learners try out beyond the lessons.
MARGIN = 0.25

# Memory is asked for in whole multiples of so many MiB.
STEP = 64

# A lesson uses one thread, so a second core would have nothing to do. A quarter of a core for each
# learner is set aside: if all press Run at once, a lesson takes at most four times as long as
# alone.
CPU_LIMIT = 1.0
CPU_GUARANTEE = 0.25

# Of each node, for Kubernetes itself; an assumption. And the most pods on a node, of which some
# belong to Kubernetes.
NODE_CORES, NODE_GIB, NODE_PODS = 0.5, 1.5, 100

# Cores and GiB of nodes that clouds and computing centres offer.
NODE_SIZES = ((4, 16), (8, 32), (16, 64), (32, 128))

# JupyterHub finds no authenticator of this name and does not start, so that nobody forgets to
# choose one.
PLACEHOLDER = "choose-an-authenticator"

# Let everybody in, or everybody with one password that is soon known.
OPEN_AUTHENTICATORS = (
    "dummy",
    "dummyauthenticator.DummyAuthenticator",
    "null",
    "shared-password",
    "tmp",
)

THREAD_CAPS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


# --- the arithmetic -----------------------------------------------------------------------------


def load(file: Path = MEASUREMENTS) -> dict[str, Any]:
    """Return what ``make bench`` measured.

    Raises
    ------
    FileNotFoundError
        If nothing was measured.
    ValueError
        If the file is damaged or has no lessons.
    """
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {file.name}. What to do: make bench.")
    try:
        measured = json.loads(file.read_text("utf-8"))
        rows = measured["lessons"]
        needed = {"lesson", "CPU seconds", "wall seconds", "peak MiB"}
        complete = rows and all(needed <= set(row) for row in rows)
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{file.name} is damaged. What to do: make bench. ({error})") from error
    if not complete:
        raise ValueError(f"{file.name} holds no complete lessons. What to do: make bench.")
    return measured


def lessons(measured: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row a lesson, run alone on one core.

    ``CPU seconds``, ``wall seconds``, and ``peak MiB`` of its largest process.
    """
    table = pd.DataFrame(measured["lessons"])
    return table.set_index("lesson").loc[:, ["CPU seconds", "wall seconds", "peak MiB"]]


def memory(measured: Mapping[str, Any]) -> pd.DataFrame:
    """Add up the memory of a learner.

    Parameters
    ----------
    measured
        As from ``load``.

    Returns
    -------
    DataFrame
        In MiB. Columns ``one kernel`` and ``two kernels``; the rows add up to ``together``;
        ``rounded up`` is what is asked for.

    Notes
    -----
    ----- ``measurements.watch`` keeps the peak of the largest process only. So a lesson that starts
    others (07 on Ray, 07b with ``LIVE = True``) takes more than is counted here.
    """
    largest = int(lessons(measured)["peak MiB"].max())
    columns = {}
    for kernels, name in ((1, "one kernel"), (2, "two kernels")):
        parts = {"largest lesson, for each kernel": kernels * largest, "Lab server": LAB_SERVER}
        parts[f"margin of {MARGIN:.0%}"] = math.ceil(MARGIN * sum(parts.values()))
        parts["together"] = sum(parts.values())
        parts["rounded up"] = STEP * math.ceil(parts["together"] / STEP)
        columns[name] = parts
    return pd.DataFrame(columns)


def nodes(
    measured: Mapping[str, Any],
    learners: int = LEARNERS,
    sizes: Sequence[tuple[int, int]] = NODE_SIZES,
) -> pd.DataFrame:
    """Tell how many nodes of each size a class needs.

    Parameters
    ----------
    measured
        As from ``load``.
    learners
        How many work at the same time, each with what is set aside for one kernel.
    sizes
        Cores and GiB of memory of a node.

    Returns
    -------
    DataFrame
        A row a size: ``cores`` and ``GiB`` of a node; how many learners fit ``by memory`` and
        ``by CPU``; ``learners a node``, the least of both and of the pods that a node may have;
        ``nodes``; ``GiB together``; and ``longest lesson (s)``, if all press Run at once.

    Raises
    ------
    ValueError
        If there are no learners, or a node is too small for one.
    """
    _require_learners(learners)
    asked = int(memory(measured).loc["rounded up", "one kernel"])
    rows = []
    for cores, gib in sizes:
        by_memory = math.floor((gib - NODE_GIB) * 1024 / asked)
        by_cpu = math.floor((cores - NODE_CORES) / CPU_GUARANTEE)
        each = min(by_memory, by_cpu, NODE_PODS)
        if each < 1:
            raise ValueError(
                f"A node of {cores} cores and {gib} GiB is too small for one learner with {asked} "
                f"MiB and {CPU_GUARANTEE} cores. What to do: take larger nodes."
            )
        count = math.ceil(learners / each)
        longest = waiting(measured, learners, [count * (cores - NODE_CORES)]).iloc[:, 0].max()
        rows.append(
            {
                "cores": cores,
                "GiB": gib,
                "by memory": by_memory,
                "by CPU": by_cpu,
                "learners a node": each,
                "nodes": count,
                "GiB together": count * gib,
                "longest lesson (s)": longest,
            }
        )
    return pd.DataFrame(rows)


def waiting(
    measured: Mapping[str, Any],
    learners: int = LEARNERS,
    cores: Sequence[float] = (25, 50, 100, 200),
) -> pd.DataFrame:
    """Tell how long the computing of a lesson takes if all learners run all its cells at the same moment.

    Parameters
    ----------
    measured
        As from ``load``.
    learners
        How many.
    cores
        Numbers of cores that they share.

    Returns
    -------
    DataFrame
        A row a lesson, a column a number of cores, in seconds: the CPU seconds of all learners,
        shared between the cores; but not less than the wall seconds of a learner alone, because a
        lesson uses one core and also waits for files.

    Raises
    ------
    ValueError
        If there are no learners, or a number of cores is not above 0.
    """
    _require_learners(learners)
    if min(cores) <= 0:
        raise ValueError(f"{min(cores)} cores cannot compute. What to do: give numbers above 0.")
    table = lessons(measured)
    shared = {f"{n:g} cores": table["CPU seconds"] * learners / n for n in cores}
    together = pd.DataFrame(shared).clip(lower=table["wall seconds"], axis=0)
    return together.round().astype(int)


def _require_learners(learners: int) -> None:
    if learners < 1:
        raise ValueError(f"A class of {learners} needs nothing. What to do: learners=200.")


# --- the values of the Helm chart ---------------------------------------------------------------


def image(project: Path = ROOT / "pyproject.toml") -> tuple[str, str]:
    """Return name and tag of the image that the hub starts, from the project's address and version.

    Parameters
    ----------
    project
        A ``pyproject.toml`` with ``version`` and ``urls.Repository``.

    Raises
    ------
    ValueError
        If it has none.
    """
    try:
        about = tomllib.loads(project.read_text("utf-8"))["project"]
        address, tag = about["urls"]["Repository"], about["version"]
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise ValueError(
            f"{project.name} says no version or no address of the project ({error}). What to do: "
            "write both there."
        ) from error
    owner_and_name = address.removeprefix("https://github.com/").strip("/")
    # A registry refuses capital letters. So a placeholder in capitals stays one, and fails.
    name = owner_and_name if owner_and_name.isupper() else owner_and_name.lower()
    return f"ghcr.io/{name}", tag


def values(measured: Mapping[str, Any], learners: int = LEARNERS) -> str:
    """Write the values for the Zero to JupyterHub Helm chart, as YAML with comments.

    Parameters
    ----------
    measured
        As from ``load``.
    learners
        How many work at the same time.
    """
    _require_learners(learners)
    asked = memory(measured).loc["rounded up"]
    name, tag = image()
    caps = "\n".join(f'    {cap}: "1"' for cap in THREAD_CAPS)
    return f"""\
# Values for the Helm chart "Zero to JupyterHub with Kubernetes", for a class of {learners} learners.
# Written by `make classroom` from docs/measurements.json; do not edit, but give changes in a file of your own (see jupyterhub.md).

singleuser:
  image:
    name: {name} # not decided yet where it is in capitals
    tag: "{tag}"
  # M is 1024 x 1024 bytes here. Set aside: one kernel. At most: two.
  memory:
    guarantee: {asked["one kernel"]}M
    limit: {asked["two kernels"]}M
  # Lessons use one thread.
  cpu:
    guarantee: {CPU_GUARANTEE}
    limit: {CPU_LIMIT:g}
  # As in binder/start, which the image runs first; here once more in case another image does not.
  extraEnv:
{caps}
  defaultUrl: /lab/tree/notebooks/00_setup.ipynb
  # A volume over the home folder would hide the lessons, which are there in the image. So nothing is kept when a server stops.
  storage:
    type: none
  # Lessons need no network: everything is in the image.
  networkPolicy:
    enabled: true
    egressAllowRules:
      nonPrivateIPs: false
      privateIPs: false
  # The image has several GB.
  startTimeout: 600

hub:
  activeServerLimit: {learners + math.ceil(learners / 20)} # and some teachers
  config:
    JupyterHub:
      # There is none of this name, and the hub does not start before you choose one (see jupyterhub.md).
      authenticator_class: {PLACEHOLDER}

proxy:
  service:
    type: ClusterIP # not reachable from outside the cluster before you change it

# A server that nobody uses for an hour is stopped.
cull:
  enabled: true
  timeout: 3600
  every: 300

# Nodes fetch the image before the class comes.
prePuller:
  hook:
    enabled: true
  continuous:
    enabled: true

scheduling:
  userScheduler:
    enabled: true # fills a node before it takes the next
"""


def faults(values: Mapping[str, Any], measured: Mapping[str, Any]) -> list[str]:
    """Look for what would go wrong in class.

    Parameters
    ----------
    values
        The values of the Helm chart, parsed.
    measured
        As from ``load``.

    Returns
    -------
    list of str
        A sentence a fault; what is missing counts as one.
    """
    user, hub = values.get("singleuser", {}), values.get("hub", {})
    found = [*_memory_faults(user.get("memory", {}), measured), *_cpu_faults(user.get("cpu", {}))]
    if not values.get("cull", {}).get("enabled"):
        found.append(
            "Culling is off: servers that nobody uses keep their memory. Set cull.enabled: true."
        )
    chosen = hub.get("config", {}).get("JupyterHub", {}).get("authenticator_class", "dummy")
    if chosen == PLACEHOLDER:
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


def _memory_faults(asked: Mapping[str, Any], measured: Mapping[str, Any]) -> list[str]:
    try:
        guarantee, limit = mebibytes(asked.get("guarantee", 0)), mebibytes(asked.get("limit", 0))
    except ValueError as error:
        return [str(error)]
    found = []
    needed = memory(measured).loc["together", "one kernel"]
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


def _cpu_faults(asked: Mapping[str, Any]) -> list[str]:
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


# --- the page -----------------------------------------------------------------------------------


def page(measured: Mapping[str, Any], learners: int = LEARNERS) -> str:
    """Write the guide, with the tables of this module, as Markdown."""
    name, tag = image()
    table, sizes = memory(measured), nodes(measured, learners)
    return f"""\
# A class on JupyterHub

Written by `make classroom` from [measurements.json](measurements.json); do not edit. How to give {learners} learners the lessons in a browser,
with nothing to install. You need a Kubernetes cluster, `helm` and `kubectl`, a machine with Docker, and a registry for the image.

**What was tried**: names and types of the values were checked by hand against the schema that the Helm chart publishes, and repo2docker writes the
Dockerfile in the tests. No image was built and no hub was started with these files. Try it with a few learners first.

## 1. Build the image

It is the image of Binder, built from the same folder `binder/`. Packages, data and a trained model are in it, so learners need no network.

```bash
pip install jupyter-repo2docker
jupyter-repo2docker --no-run --image-name {name}:{tag} .
docker push {name}:{tag}
```

Name and tag come from `pyproject.toml`. `OWNER/REPOSITORY` means that the address is not decided yet: write it there, and run `make classroom`.
The version of JupyterHub inside the image and that of the chart should have the same first number; repo2docker and the release notes of the chart say which they have.

## 2. Choose who may come in

As they are, the values refuse to start: the authenticator is a placeholder. In a file `my-values.yaml` of your own, choose the one of your
institution. With a university's OpenID Connect, for example:

```yaml
hub:
  config:
    JupyterHub:
      authenticator_class: generic-oauth
    GenericOAuthenticator:
      client_id: ...
      client_secret: ... # keep this file out of the repository
      oauth_callback_url: https://hub.your-domain/hub/oauth_callback
      authorize_url: ...
      token_url: ...
      userdata_url: ...
      scope: [openid, email] # else there is no email to go by
      username_claim: email
      allowed_users: [ada@your-domain, grace@your-domain]
      admin_users: [you@your-domain]
proxy:
  service:
    type: LoadBalancer
  https:
    enabled: true
    hosts: [hub.your-domain]
    letsencrypt:
      contactEmail: you@your-domain
```

Do not use `dummy` or one password for all: whoever has it can run programs on your cluster.

## 3. Start the hub

```bash
helm repo add jupyterhub https://hub.jupyter.org/helm-chart/
helm upgrade --install class jupyterhub/jupyterhub --version X.Y.Z --namespace class --create-namespace \\
  --values docs/jupyterhub-values.yaml --values my-values.yaml
kubectl --namespace class get pods
```

`X.Y.Z` is the version of the chart: fill it in (`helm search repo jupyterhub` lists them), and keep it for the whole course.
Without `LoadBalancer` nobody outside reaches it; look at it through `kubectl --namespace class port-forward service/proxy-public 8080:http`.

## How much memory a learner needs

In MiB (1,024 MiB are 1 GiB, about 1.07 GB). The largest lesson is {lessons(measured)["peak MiB"].idxmax()}. What Lab's own server takes was measured once by hand. One kernel is set
aside for each learner (*guarantee*), two may be used (*limit*).

{_markdown(table.reset_index(names=""))}

Two kernels each are not set aside. If many learners open a second lesson without closing the first, a node runs out of memory, and Kubernetes stops
servers. Tell the class: *Kernel > Shut Down All Kernels* before the next lesson.

Of a lesson only the largest process is counted. Lesson 07b has a switch, `LIVE`, which is off: with it the notebook (about 1 GiB) and two processes
of its own (more than 0.8 GiB each) exceed the limit. Tell the class to leave it off.

## How many nodes

For {learners} learners at the same time, with {table.loc["rounded up", "one kernel"]:,} MiB and {CPU_GUARANTEE} cores set aside for each, and {NODE_CORES} cores and {NODE_GIB} GiB of each node left
to the system (assumed). `by memory`, `by CPU`: how many learners fit. Kubernetes also limits the programs on a node; {NODE_PODS} learners are taken as the most.
The hub and its proxy come on top: one small node.

{_markdown(sizes)}

The last column is how long the longest lesson computes if all press Run at the same moment.

## How long the class waits

Seconds if all {learners} run a lesson from top to bottom at the same moment, for numbers of cores in the whole cluster:

{_markdown(waiting(measured, learners).reset_index())}

This happens when a teacher says: run it now. The start of {learners} servers is not counted, nor that they read from the same disks. Otherwise learners spread out:
a lesson takes 20 to 50 minutes to read, and less than a minute to compute.

## Before, during and after

- The day before: `helm upgrade` as above; the nodes fetch the image at once. Log in as a learner, and run lesson 00.
- An hour before: let the cluster have all its nodes (`kubectl --namespace class scale sts/user-placeholder --replicas={learners}`, and to 0 when the class comes).
- Nothing is kept when a server stops, and a server that is idle for an hour is stopped. Learners download what they want to keep (*File > Download*).
- A kernel dies: look at the memory in Lab's status bar. Two kernels, or data of their own? Close one, or raise `singleuser.memory`.
- After: `helm uninstall class --namespace class`, then remove the nodes.
"""


def _markdown(table: pd.DataFrame) -> str:
    lines = [list(table.columns), ["---", *["---:"] * (len(table.columns) - 1)]]
    lines += [
        [f"{entry:,}" if isinstance(entry, int | float) else str(entry) for entry in row]
        for row in table.astype(object).itertuples(index=False)
    ]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def main() -> int:
    """Write the values and the page; return the exit status."""
    measured = load()
    for file, text in ((VALUES, values(measured)), (PAGE, page(measured))):
        draft = file.with_name(file.name + ".draft")
        draft.write_text(text, encoding="utf-8")
        draft.replace(file)
        print(f"{file.name} is written.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
