"""The exercises of the lessons as assignments for nbgrader, and the marks of what comes back."""
