"""Check what imports what: the layers that ``pyproject.toml`` lists.

``helpers/`` has a room for each lesson. A room imports from the ground floor (the modules at the
top of ``helpers/``) and from rooms of earlier lessons; studies, publishing and commands import
``helpers``, never the other way.
"""

import sys

from importlinter.cli import lint_imports

from commands.console import say

WHAT_TO_DO = (
    "What to do with an import from a later room: move the part that both need to the earlier "
    "room, or the module that needs it to the later one. A new room or a new module on the ground "
    "floor gets its place in [tool.importlinter] in pyproject.toml. CONTRIBUTING.md tells which "
    "room is for what."
)


def main() -> int:
    """Look at every import, and say what to do if one goes the wrong way."""
    failed = lint_imports(config_filenames=("pyproject.toml",), no_logo=True, no_cache=True)
    if failed:
        say(WHAT_TO_DO)
    return failed


if __name__ == "__main__":
    sys.exit(main())
