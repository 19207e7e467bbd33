"""Quizzes and exercises, and what their checks are made of."""
