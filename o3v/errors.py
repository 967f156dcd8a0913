"""The errors that a user can cause, each a sentence that says what, where and what would be allowed.

Entry points print them without a stack trace and exit with code 2; anything else is a bug and keeps its trace.
"""

from __future__ import annotations


class UserError(Exception):
    """A mistake in configuration, data or environment that the user can mend."""


class ConfigError(UserError):
    """A configuration key or value that is not allowed."""


class DataError(UserError):
    """A data set that cannot be used: missing root, broken JSON, invalid row."""


class MediaError(UserError):
    """A video or image that cannot be decoded; training skips and counts it.

    Attributes:
        path: the file.
        reason: short, for tables.
    """

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[MediaError], tuple[str, str]]:
        """Loader workers send their faults to the training process."""
        return type(self), (self.path, self.reason)


class StorageError(UserError):
    """An output folder or disk that cannot be written."""


class PeerError(UserError):
    """Another process of a distributed run cannot go on, so that this one stops with it."""


class ParityError(UserError):
    """Rollout and training compute different log-probabilities, so that an objective would learn from wrong ratios."""


class ServiceError(UserError):
    """A service outside the program, such as a judge's endpoint, that refuses or does not answer."""
