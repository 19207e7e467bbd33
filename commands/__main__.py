"""Check that this Python is new enough, then hand over to the command line.

This file alone is written so that any Python can read it: an old one must be able to say that it
is too old. Everything else in this folder needs Python 3.11 and its standard library, no more.
"""

import os
import sys

NEEDED = (3, 11)


def main():
    """Run the command line, or say which Python is needed."""
    if sys.version_info < NEEDED:
        sys.stderr.write(
            "This is Python %d.%d, and the kit needs Python %d.%d or newer.\n"
            "Run the same command with a newer one, for example: python3.12 commands lab\n"
            "(on Windows: py -3.12 commands lab). Python is at https://www.python.org/downloads/.\n"
            % (sys.version_info[:2] + NEEDED)
        )
        return 1
    # Python puts this folder on the path; the package is found from the folder above it.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    from commands import command_line

    return command_line.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
