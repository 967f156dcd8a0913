"""A reward term at which a run waits, so that a test meets it in the middle of a step, however fast the machine is."""

import random
import time
from pathlib import Path

from o3v.stop import current_stop
from tests.training.steps import LettersTerm

LIMIT_S = 120


class GateTerm(LettersTerm):
    """Once the run has come so far it says so and waits until the gate is opened; then the gate stays open.

    Signals that arrive meanwhile are noted by the run, which shows in the gate, and act at the end of the step.

    Its value is drawn from Python's global random state: a continued run that does not restore it ends elsewhere.

    Args:
        folder: of the gate: `reached` and `asked` (to stop) appear there, `open` lets through; no folder, no gate.
        at: share of the run that is done after the step in which it waits.
    """

    def __init__(self, folder: str, at: float):
        self._folder = Path(folder)
        self._at = at

    def __call__(self, completion, row, progress):
        if progress >= self._at - 1e-9 and self._folder.is_dir() and not (self._folder / "open").exists():
            (self._folder / "reached").touch()
            until = time.monotonic() + LIMIT_S
            while not (self._folder / "open").exists() and time.monotonic() < until:
                time.sleep(0.02)
                if current_stop().requested:
                    (self._folder / "asked").touch()
        return 0.5 * super().__call__(completion, row, progress) + 0.5 * random.random()
