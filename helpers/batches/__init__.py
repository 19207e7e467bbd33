"""Lesson 05c: batch effects, ways to remove them, and what is then left."""
