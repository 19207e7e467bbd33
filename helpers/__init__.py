"""The code behind the lessons, one module a topic.

A notebook cell calls it; a test pins what it means.
"""
