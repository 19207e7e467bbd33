"""Lesson 05b: which genes differ, and what the decoder expects."""
