"""A reward term that fails, for jobs that have to."""

from tests.training.steps import LettersTerm


class BrokenTerm(LettersTerm):
    """Fails at its first completion."""

    def __call__(self, completion, row, progress):
        raise RuntimeError("no credit today")
