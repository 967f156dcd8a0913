"""Fixtures for tests that need a model; nothing heavy is imported before one of them is used."""

import pytest


@pytest.fixture(scope="session", params=["qwen2_5_vl", "qwen3_vl"])
def policy(request):
    """A random tiny model of each family with varied log-probabilities. Shared: leave its weights as they are."""
    from tests import tiny

    return tiny.random_policy(request.param)


@pytest.fixture
def fresh_policy(policy):
    """The same with weights of one's own."""
    import copy
    from dataclasses import replace

    return replace(policy, model=copy.deepcopy(policy.model))
