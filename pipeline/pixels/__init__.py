"""A scene as the stages of a run read it: from its files, or from the cache."""
