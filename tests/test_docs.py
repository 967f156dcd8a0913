"""The documentation runs: marked blocks are executed, links lead somewhere, the tree names every folder.

A block is executed where the line before it is `<!-- test -->`. It must be bash, runs in a scratch copy of the
repository's working tree, and all blocks of one page run in order in the same copy.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
SKIPPED = {".git", ".venv", ".venv-bounds", "outputs", "multirun", "build", "dist", "node_modules", "__pycache__"}
BLOCK = re.compile(r"^<!-- test -->\n+```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def is_ours(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    return not any(part in SKIPPED or part.endswith(("egg-info", "_cache")) for part in parts)


PAGES = sorted(path for path in ROOT.rglob("*.md") if is_ours(path))


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, content) of each marked block."""
    return BLOCK.findall(text)


def broken_links(text: str, folder: Path) -> list[str]:
    """Relative links to files that do not exist; code is not looked at."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    targets = [target.split("#")[0] for target in LINK.findall(prose) if not re.match(r"\w+:", target)]
    return [target for target in targets if target and not (folder / target).exists()]


def unnamed_folders(text: str, folders: list[str]) -> list[str]:
    """Folders that no block of the text names at the start of a line."""
    trees = "\n".join(re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL))
    return [name for name in folders if not re.search(rf"^\W*{re.escape(name)}/", trees, re.MULTILINE)]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page.read_text(encoding="utf-8"), page.parent) == []


def borrow_environment(folder: Path) -> None:
    """Let the commands of a page find the environment of this test as an installed .venv, so that none is made."""
    folder.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name != ".installed":
            (folder / entry.name).symlink_to(entry)
    (folder / ".installed").touch()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page.read_text(encoding="utf-8"))], ids=name)
def test_marked_blocks_run(page: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT, copy, ignore=lambda folder, names: [n for n in names if not is_ours(Path(folder) / n)])
    borrow_environment(copy / ".venv")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("O3V_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for language, content in blocks(page.read_text(encoding="utf-8")):
        assert language in {"bash", "sh"}, "only bash blocks can be marked"
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", content],
            cwd=copy,
            env={**clean, "PATH": path, "PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{content}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.skipif(not README.is_file(), reason="README.md is not written yet")
def test_the_readme_has_blocks_that_run() -> None:
    assert blocks(README.read_text(encoding="utf-8")) != []


@pytest.mark.skipif(not README.is_file(), reason="README.md is not written yet")
def test_the_readme_names_every_folder() -> None:
    folders = [path.name for path in ROOT.iterdir() if path.is_dir() and is_ours(path) and path.name[0] != "."]
    assert unnamed_folders(README.read_text(encoding="utf-8"), folders) == []


def test_a_broken_link_is_caught(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("")
    text = "[a](there.md#part) [b](gone.md) ![c](gone.png) [d](https://x.org) [e](#here) `[f](code.md)`"
    assert broken_links(text, tmp_path) == ["gone.md", "gone.png"]


def test_marked_blocks_are_found_and_others_are_not() -> None:
    text = "<!-- test -->\n```bash\necho a\n```\n\n```bash\necho b\n```\n\n<!-- test -->\n\n```bash\necho c\n```\n"
    assert blocks(text) == [("bash", "echo a\n"), ("bash", "echo c\n")]


def test_a_folder_missing_from_the_tree_is_caught() -> None:
    assert unnamed_folders("```\nconf/   groups\n├── o3v/\n```\ntests/", ["conf", "o3v", "tests"]) == ["tests"]
