"""The command line: one module for each command, and the text that a terminal shows."""
