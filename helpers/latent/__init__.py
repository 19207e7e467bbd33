"""Lesson 05: the latent space, its neighbours, clusters and maps, and walks through it."""
