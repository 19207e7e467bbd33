"""Lesson 03: how many hidden layers a model has, counted while one minibatch runs through it."""
