"""Lesson 08: from the file that a learner brings to a page with a result."""
