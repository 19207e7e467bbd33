"""A web server on this machine that sends one file, and can misbehave as real servers do."""

import contextlib
import http.server
import re
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Served:
    """What the server sends, how, and what it was asked.

    Attributes
    ----------
    content
        The file.
    address
        Its URL.
    ranges
        Whether the server knows ranges.
    early
        How many bytes before the first one that is asked for it begins.
    status, content_type
        What it answers.
    stalls_at
        The byte from which on nothing comes, until this is raised.
    breaks_at
        The byte before which the connection breaks.
    asked
        The byte from which on each request wants the file.
    encodings
        The encodings that each request accepts.
    """

    content: bytes
    address: str = ""
    ranges: bool = True
    early: int = 0
    status: int = 200
    content_type: str = "text/plain"
    stalls_at: float = float("inf")
    breaks_at: float = float("inf")
    asked: list[int] = field(default_factory=list)
    encodings: list[str] = field(default_factory=list)
    closed: bool = False


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        served = self.server.served
        wanted = re.match(r"bytes=(\d+)-$", self.headers.get("Range", ""))
        served.asked.append(int(wanted[1]) if wanted else 0)
        served.encodings.append(self.headers["Accept-Encoding"])
        start = max(0, served.asked[-1] - served.early) if served.ranges else 0
        if served.status != 200:
            self.send_error(served.status)
        elif start and start >= len(served.content):
            self.send_error(416)
        else:
            self._send(served, start)

    def _send(self, served, start):
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", served.content_type)
        self.send_header("Content-Length", str(len(served.content) - start))
        if start:
            last = len(served.content) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{last + 1}")
        self.end_headers()
        for at in range(start, len(served.content), 2**14):
            while at >= served.stalls_at and not served.closed:
                time.sleep(0.005)
            if at >= served.breaks_at:
                return
            self.wfile.write(served.content[at : at + 2**14])

    def handle_one_request(self):
        # A client that was killed is no error of the server.
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def log_message(self, format, *args):
        pass


@contextlib.contextmanager
def serve(content: bytes):
    """Serve a file inside this block."""
    served = Served(content)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answer) as server:
        server.daemon_threads = True
        server.served = served
        served.address = f"http://127.0.0.1:{server.server_port}/file.txt"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield served
        finally:
            served.closed = True
            server.shutdown()
            thread.join()
