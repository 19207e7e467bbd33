"""Note each attempt of this Python, and of those that it starts, to use a network.

Python imports a module of this name when it starts, if it finds one on ``PYTHONPATH``. The notes
go, one line of JSON per attempt, to the file that ``CONNECTIONS_RECORD`` names.
``studies/network_recorder.py`` puts both in place and reads the notes.
"""

import json
import os
import sys

EVENTS = {
    "socket.bind",
    "socket.connect",
    "socket.getaddrinfo",
    "socket.gethostbyaddr",
    "socket.gethostbyname",
    "socket.getnameinfo",
    "socket.sendmsg",
    "socket.sendto",
}


def _start(path):
    """Note attempts from now on; several processes add to one file, a whole line at a time."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(event, arguments):
        if event in EVENTS:
            # The address; a socket comes before it.
            said = [part for part in arguments if isinstance(part, str | bytes | tuple | None)]
            os.write(file, (json.dumps([event, said], default=os.fsdecode) + "\n").encode())

    sys.addaudithook(note)


if os.environ.get("CONNECTIONS_RECORD"):
    _start(os.environ["CONNECTIONS_RECORD"])
