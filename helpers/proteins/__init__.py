"""Lessons 06 and 06b: counts of surface proteins, and what TotalVI says of them."""
