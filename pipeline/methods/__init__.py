"""Fit a model to pixels: sampling, k-means methods, and passes over all pixels."""
