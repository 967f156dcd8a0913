"""Saving a model without what other libraries would load for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_deepspeed() -> Iterator[None]:
    """For the time of the block, accelerate does not import DeepSpeed to look whether a model is wrapped by it.

    A process that has not imported DeepSpeed has no such model. The import takes seconds, and on a machine without a
    GPU it prints a warning about that, in runs that have nothing to do with DeepSpeed.
    """
    if "deepspeed" in sys.modules:
        yield
        return
    from accelerate.utils import other

    place: Any = other
    found = place.is_deepspeed_available
    place.is_deepspeed_available = lambda: False
    try:
        yield
    finally:
        place.is_deepspeed_available = found
