"""Lab's server needs its token, listens on this machine alone, and says when memory is short."""

import http.cookiejar
import ipaddress
import json
import time
import urllib.error
import urllib.request
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest

from helpers.paths import ROOT
from tests.browser.page_scripts import open_lesson, run_some

# Settings that would let others in; what is not set is Jupyter's own default, which the tests below
# look at.
OPENING = {
    "allow_origin",
    "allow_origin_pat",
    "allow_password_change",
    "allow_remote_access",
    "allow_unauthenticated_access",
    "custom_display_url",
    "disable_check_xsrf",
    "hashed_password",
    "identity_provider_class",
    "ip",
    "local_hostnames",
    "password",
    "password_required",
    "token",
}


def ask(lab_address, path, token=None, how="GET", what=None, **headers):
    """Ask Lab's server; return the status and what it answers."""
    parts = urlsplit(lab_address)
    if token is not None:
        headers["Authorization"] = f"token {token}"
    request = urllib.request.Request(
        f"http://{parts.netloc}/{path}",
        None if what is None else json.dumps(what).encode(),
        headers,
        method=how,
    )
    # No proxy: the server is on this machine. No redirect: a page that sends one to the log-in lets
    # nobody in.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stay())
    try:
        with opener.open(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


class Stay(urllib.request.HTTPRedirectHandler):
    """Do not follow a redirect."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        return None


@pytest.fixture(scope="module")
def token(lab_address):
    return parse_qs(urlsplit(lab_address).query)["token"][0]


@pytest.fixture(scope="module")
def session(lab_address, token):
    """Start a kernel as opening a lesson does."""
    asked = {
        "path": "notebooks/05_latent_space.ipynb",
        "name": "05_latent_space.ipynb",
        "type": "notebook",
        "kernel": {"name": "python3"},
    }
    status, answer = ask(lab_address, "api/sessions", token, "POST", asked)
    assert status == 201, answer
    started = json.loads(answer)
    yield started
    ask(lab_address, f"api/sessions/{started['id']}", token, "DELETE")


LOCKED = (
    ("GET", "api/contents/notebooks"),
    ("GET", "api/kernels"),
    ("GET", "api/sessions"),
    ("GET", "api/terminals"),
    ("GET", "api/metrics/v1"),
    ("GET", "files/README.md"),
    ("GET", "lab"),
    ("POST", "api/kernels"),
    ("POST", "api/shutdown"),
    ("POST", "api/terminals"),
)


@pytest.mark.parametrize(("how", "path"), LOCKED, ids=[" ".join(each) for each in LOCKED])
@pytest.mark.parametrize("wrong", [None, "", "0" * 48], ids=["none", "empty", "wrong"])
def test_without_the_token_nobody_is_let_in(lab_address, how, path, wrong):
    status, answer = ask(lab_address, path, wrong, how, {} if how == "POST" else None)
    # Pages lead to the log-in, all else is forbidden.
    assert status == (302 if path in ("lab", "files/README.md") else 403), answer


@pytest.mark.parametrize("path", [path for how, path in LOCKED if how == "GET"])
def test_with_the_token_the_same_is_there(lab_address, token, path):
    assert ask(lab_address, path, token)[0] == 200


def test_token_is_long_and_another_each_time(lab_address, token):
    assert len(token) >= 40


@pytest.mark.parametrize("host", ["example.invalid", "192.0.2.1"])
def test_a_page_of_another_name_is_refused(lab_address, token, host):
    # What a page from elsewhere would need that makes its own name point to this machine.
    assert ask(lab_address, "api/kernels", token, Host=host)[0] == 403


def test_a_page_from_elsewhere_may_not_use_the_browsers_log_in(lab_address, token):
    jar = http.cookiejar.CookieJar()
    visitor = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(jar)
    )
    visitor.open(lab_address, timeout=60).close()
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar)
    before = ask(lab_address, "api/kernels", token)[1]
    assert ask(lab_address, "api/kernels", Cookie=cookies)[0] == 200, "the log-in does not hold"
    foreign = {"Cookie": cookies, "Origin": "http://example.invalid"}
    status, _ = ask(lab_address, "api/kernels", None, "POST", {}, **foreign)
    assert status in (403, 404)
    assert {kernel["id"] for kernel in json.loads(ask(lab_address, "api/kernels", token)[1])} == {
        kernel["id"] for kernel in json.loads(before)
    }


def listening(process):
    """Return the addresses at which a process and those that it started listen."""
    family = [process, *process.children(recursive=True)]
    return {
        connection.laddr
        for each in family
        for connection in each.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


def test_server_and_kernels_listen_on_this_machine_alone(lab_server, session):
    address, server = lab_server
    end = time.monotonic() + 90
    found = set()
    # The server's port, and at least five of a kernel, which opens them while it starts.
    while len(found) < 6 and time.monotonic() < end:
        found = listening(psutil.Process(server.pid))
        time.sleep(0.2)
    assert len(found) >= 6
    assert urlsplit(address).port in {each.port for each in found}
    outside = [each for each in found if not ipaddress.ip_address(each.ip).is_loopback]
    assert not outside


def settings(value, path=()):
    """Give the names of all settings in a file of settings."""
    for name, inner in value.items():
        yield name
        if isinstance(inner, dict):
            yield from settings(inner)


def test_our_settings_open_nothing():
    files = list((ROOT / "commands" / "jupyter").rglob("*.json"))
    assert files
    for file in files:
        names = set(settings(json.loads(file.read_text("utf-8"))))
        assert not names & OPENING, file.name


@pytest.mark.parametrize(
    "file", ["binder/start", "binder/postBuild", "commands/lab.py", "Makefile"]
)
def test_no_command_opens_the_server(file):
    text = (ROOT / file).read_text("utf-8")
    words = [word for word in ("--ip", "0.0.0.0", "token", "password", "allow_") if word in text]
    assert not words


# --- memory -------------------------------------------------------------------------------------


def test_a_lesson_that_does_not_fit_names_the_kernel_to_close(browser, lab_address, session):
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    address = lab_address.replace("/lab/tree/", "/lab/workspaces/memory/tree/")
    assert open_lesson(page, address.replace("00_setup", "06_totalvi")).endswith("06_totalvi.ipynb")
    short = (
        "import os; from helpers import memory\n"
        "os.environ['MEM_LIMIT'] = str(memory.used_together() + 20_000_000)"
    )
    # The first cell of a lesson is its prose.
    (cell,) = run_some(page, [first_code_cell("06_totalvi")], given=short)
    (error,) = [output for output in cell["outputs"] if output["output_type"] == "error"]
    context.close()
    assert error["ename"] == "MemoryError"
    assert "06_totalvi.ipynb takes up to" in error["evalue"]
    assert "05_latent_space.ipynb holds" in error["evalue"]
    assert "Kernel > Shut Down Kernel" in error["evalue"]


def first_code_cell(lesson):
    """Return the place of the cell with which a lesson begins."""
    cells = json.loads((ROOT / "notebooks" / f"{lesson}.ipynb").read_text("utf-8"))["cells"]
    return next(number for number, cell in enumerate(cells) if cell["cell_type"] == "code")
