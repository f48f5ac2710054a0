"""The YAML config as typed records, and the messages about mistakes in it."""
