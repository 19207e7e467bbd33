"""Slides of the lessons, made from the notebooks by rule.

``lesson`` reads, ``rules`` decide, ``page`` writes.
"""
