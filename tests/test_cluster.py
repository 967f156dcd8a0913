"""The site's file: found, read, refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from o3v.cluster import SITE_KEYS, read_site, repository, sbatch_of, setup_of, site_file, site_value
from o3v.errors import ConfigError


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "site.yaml"
    monkeypatch.setenv("O3V_SITE", str(file))
    return file


def test_the_example_holds_every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    example = repository() / "launchers" / "site.example.yaml"
    monkeypatch.setenv("O3V_SITE", str(example))
    assert site_file() == example
    assert set(read_site(example)) == set(SITE_KEYS)
    assert site_value("account") == "my-project"
    assert site_value("preempt_qos") is None and site_value("preempt_qos", "low") == "low"


def test_the_sites_lines_come_before_the_runs_own(site: Path) -> None:
    site.write_text("setup: [module load a]\nsbatch: {exclude: n1, requeue: false, mail-type: FAIL}\n")
    assert setup_of({"cpus_per_task": 2, "setup": ["echo b"]})[-2:] == ["module load a", "echo b"]
    assert sbatch_of({"sbatch": {"exclude": "n2"}}) == {"exclude": "n2", "mail-type": "FAIL"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("acount: x\n", "acount: unknown key. Allowed: partition"),
        ("setup: module load\n", "setup: 'module load' is not allowed, expected list"),
        ("account: [a]\n", "account"),
        ("- a\n", "keys and values"),
        ("a: [\n", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused(site: Path, text: str, message: str) -> None:
    site.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_site(site)


def test_a_missing_file_is_told(site: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        site_file()


def test_an_empty_file_says_nothing(site: Path) -> None:
    site.write_text("# nothing yet\n")
    assert read_site(site)["sbatch"] == {}
    with pytest.raises(ConfigError, match="unknown key"):
        site_value("setup")
