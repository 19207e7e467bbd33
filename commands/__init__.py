"""The project's commands: ``python3 commands lab`` and its siblings, which ``make`` also runs."""
