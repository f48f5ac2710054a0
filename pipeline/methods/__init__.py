"""From pixels to a model: one module for each way to cluster."""
