"""The code behind the lessons: a room for each topic, in the order of the lessons.

A notebook cell calls it; a test pins what it means.
"""
