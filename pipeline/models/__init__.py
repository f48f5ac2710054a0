"""Models: the result of a fit, with all that is needed to apply it to another scene."""
