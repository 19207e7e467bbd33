"""Lesson 04: what the loss is made of, term by term, and what it means."""
