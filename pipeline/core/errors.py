"""Exceptions that Terrazzo raises for mistakes a user can fix.

A message is one or two sentences that name the file, field or block, the numbers, and the fix. The command line
prints only the message and exits with the `exit_code` of the class.
"""

from pipeline.core.text import printable


class TerrazzoError(Exception):
    """Base of all errors a user can fix: invalid input or config, too little memory or disk space.

    `str` escapes control characters, as messages quote names and values from files.
    """

    exit_code = 1
    """Exit status of the command."""

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(TerrazzoError):
    """The config, a command line option or an argument has a value that is not allowed."""

    exit_code = 2


class SceneError(TerrazzoError):
    """A scene can't be opened or read, or its bands can't be aligned onto one grid."""


class StalledError(SceneError):
    """A file on another machine could not be read within run.timeout."""


class FitError(TerrazzoError):
    """The pixels can't be clustered as requested."""


class ModelError(TerrazzoError):
    """A model file can't be read, or the model can't be applied to the scene."""


class OutputError(TerrazzoError):
    """An output can't be written, or already exists."""


class MemoryBudgetError(TerrazzoError):
    """The run needs more memory than run.memory allows."""


class ClusterError(TerrazzoError):
    """The workers of a cluster can't be reached, end too often, or differ from this process."""
