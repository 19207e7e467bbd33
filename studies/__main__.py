"""Make a study: ``python -m studies NAME``; without a name, list them."""

import importlib
import sys

from studies import catalogue


def main(arguments: list[str]) -> int:
    """Make the study that is named, or list all; return the exit status."""
    if not arguments:
        print(catalogue.listing())
        return 0
    try:
        (name,) = arguments
        study = catalogue.find(name)
    except ValueError as error:
        several = "One study at a time." if len(arguments) > 1 else str(error)
        print(several, file=sys.stderr)
        return 2
    return importlib.import_module(f"studies.{study.name}").main()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
