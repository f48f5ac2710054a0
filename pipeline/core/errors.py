"""The errors Terrazzo raises on purpose.

Each message is one or two sentences that name the file, field or block, the numbers, and the fix. The command
line prints the message alone and leaves with the class's `exit_code`.
"""

from pipeline.core.text import printable


class TerrazzoError(Exception):
    """Something the user can mend: bad input, bad config, no room. Names and numbers in it may come from anywhere."""

    exit_code = 1

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(TerrazzoError):
    """The config, a flag or an argument asks for something that is not allowed."""

    exit_code = 2


class SceneError(TerrazzoError):
    """A scene can't be opened, read, or put on one grid."""


class StalledError(SceneError):
    """Another machine took longer to answer than run.timeout allows."""


class FitError(TerrazzoError):
    """The pixels don't allow the clustering that was asked for."""


class ModelError(TerrazzoError):
    """A model file can't be read, or doesn't fit the scene."""


class OutputError(TerrazzoError):
    """An output can't be written, or stands in the way."""


class MemoryBudgetError(TerrazzoError):
    """The work can't be done within the memory the config allows."""
