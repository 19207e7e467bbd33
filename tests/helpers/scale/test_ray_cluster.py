"""Where a sweep would run is looked at before it starts; its own Ray is out of others' reach."""

import importlib.util
import os
import socket
import subprocess
import sys

import pandas as pd
import pytest

from helpers.paths import ROOT
from helpers.scale import ray_cluster


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "127.0.0.1:port"])
def test_an_address_without_a_cluster_is_said_at_once(address):
    with pytest.raises(ConnectionError, match=f"no Ray cluster at {address}.*RAY_ADDRESS"):
        ray_cluster.require_reachable(address)


def test_an_address_where_something_else_answers_is_said(monkeypatch):
    monkeypatch.setattr(ray_cluster, "ANSWER_SECONDS", 4)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ConnectionError, match=f"{address}.* not answered as Ray does for 4"):
            ray_cluster.require_reachable(address)


def test_memory_limits_the_trials_side_by_side(monkeypatch):
    processors = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    )
    for free, expected in ((10**12, processors), (ray_cluster.TRIAL_BYTES, 1), (0, 1)):
        monkeypatch.setattr(ray_cluster.environment, "available_memory", lambda free=free: free)
        assert ray_cluster.trials_at_once() == expected


def test_a_space_in_the_path_of_the_environment_is_kept_together(monkeypatch):
    monkeypatch.setattr(ray_cluster.sys, "executable", "/a b/python")
    assert ray_cluster.worker_python() == {"py_executable": "'/a b/python'"}
    monkeypatch.setattr(ray_cluster.sys, "executable", "/a_b/python")
    assert ray_cluster.worker_python() == {}


def test_a_sweep_on_this_machine_is_out_of_reach_of_others():
    code = """
import ipaddress, os, psutil
from helpers.scale import ray_cluster
os.environ.update(ray_cluster.VARIABLES)
with ray_cluster.connected():
    import ray
    ray.get(ray.remote(lambda: 1).remote())
    own = psutil.Process()
    for each in (own, *own.children(recursive=True)):
        for connection in each.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                address = ipaddress.ip_address(connection.laddr.ip)
                print((getattr(address, "ipv4_mapped", None) or address).is_loopback)
"""
    free = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, env=free, cwd=ROOT, capture_output=True, text=True, check=True)
    # At least the server of Ray's store, the node and the process that works.
    assert len(ran.stdout.split()) >= 3
    assert set(ran.stdout.split()) == {"True"}


def test_nodes_too_small_for_a_trial_are_said_before_ray_waits_for_ever():
    large = {"Alive": True, "Resources": {"CPU": 1.0, "memory": 2.0 * ray_cluster.TRIAL_BYTES}}
    small = {"Alive": True, "Resources": {"CPU": 4.0, "memory": 0.5 * ray_cluster.TRIAL_BYTES}}
    ray_cluster.require_room([small, large])
    without_processor = {"Alive": True, "Resources": {"memory": 2.0 * ray_cluster.TRIAL_BYTES}}
    for nodes in ([], [small], [large | {"Alive": False}, small], [without_processor]):
        with pytest.raises(MemoryError, match=r"needs a processor and 1\.2 GB of memory"):
            ray_cluster.require_room(nodes)


def test_nodes_with_other_packages_are_named():
    same = {name: "1.0" for name in (*ray_cluster.SHARED_PACKAGES, "the kit")}
    here = {"node": "this process", **same}
    good = {"node": "aaaaaaaaaaaa", **same}
    ray_cluster.require_same_packages(pd.DataFrame([here, good]))
    for change, said in (
        ({"torch": "0.1"}, r"node bbbbbbbb has torch 0\.1, this process 1\.0"),
        ({"scvi-tools": None}, "has scvi-tools not at all"),
        ({"the kit": None}, "has the kit not at all"),
    ):
        other = good | {"node": "bbbbbbbbbbbb"} | change
        with pytest.raises(RuntimeError, match=said):
            ray_cluster.require_same_packages(pd.DataFrame([here, good, other]))


def test_a_change_anywhere_in_the_kit_is_another_kit(tmp_path, monkeypatch):
    """Nodes are told apart by modules at any depth, not by those at the top alone."""
    ray = pytest.importorskip("ray")

    def digest():
        return ray_cluster.packages_of_nodes()["the kit"].iloc[0]

    monkeypatch.setattr(ray, "nodes", list)
    monkeypatch.setattr(ray, "get", lambda asked, timeout: asked)
    package = tmp_path / "helpers"
    (package / "room").mkdir(parents=True)
    for file in (package / "__init__.py", package / "room" / "__init__.py"):
        file.write_text("")
    found = importlib.util.spec_from_file_location(
        "helpers", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    before = digest()
    assert digest() == before
    (package / "room" / "module.py").write_text("x = 1")
    assert digest() != before
