"""Lessons 07 and 07b: many models, many cells, many machines."""
