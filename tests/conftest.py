"""Fixtures for tests that need a model, a SLURM or a browser; nothing heavy is imported before one of them is used."""

import os
import shutil
import sys

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pytest_runtest_setup():
    """The log handler of absl, which rouge-score brings, closes the stream that it met when it was imported: pytest's.

    It does so whenever Hydra sets logging up, and every later test of the process then fails.
    """
    logging = sys.modules.get("absl.logging")
    if logging is not None:
        logging.get_absl_handler().python_handler.stream = sys.__stderr__


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


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """A true SLURM with accounting (tests/slurm/lab.py), one for all tests; its environment holds in this process too.

    Skips where SLURM is not installed; with REQUIRE_SLURM=1 that fails.
    """
    from tests.slurm import lab

    missing = lab.missing_programs()
    if missing:
        _without(f"SLURM is not installed ({', '.join(missing)} missing)", "REQUIRE_SLURM")
    folder = tmp_path_factory.mktemp("slurm")
    kept = pytest.MonkeyPatch()
    try:
        running = lab.start_lab(folder)
        for name, value in running.env.items():
            kept.setenv(name, value)
        yield running
    finally:
        kept.undo()
        lab.stop_lab(folder)


@pytest.fixture(scope="session")
def chromium():
    """Path of a Chromium for `--headless`. Skips where there is none; with REQUIRE_CHROMIUM=1 that fails."""
    found = next((path for path in map(shutil.which, BROWSERS) if path is not None), None)
    if found is None:
        _without("there is no Chromium", "REQUIRE_CHROMIUM")
    return found


def _without(what, variable):
    if os.environ.get(variable) == "1":
        pytest.fail(f"{what}, and {variable}=1 requires it")
    pytest.skip(what)
