"""From a scene's pixels to a model of its classes."""
