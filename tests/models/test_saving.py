"""A model is saved without DeepSpeed being imported."""

import subprocess
import sys

import pytest
from accelerate.utils import other

from o3v.models.saving import without_deepspeed

SAVE = """
import sys
from pathlib import Path
from o3v.models.load import save_policy
from tests import tiny
save_policy(tiny.random_policy("qwen2_5_vl"), Path(sys.argv[1]))
assert Path(sys.argv[1], "model.safetensors").is_file()
print("deepspeed" in sys.modules)
"""


def said(code, *arguments):
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_saving_imports_no_deepspeed_and_says_nothing(tmp_path):
    assert said(SAVE, tmp_path / "model") == "False\n"


def test_without_the_block_it_is_imported(tmp_path):
    """Else the block would have nothing to do, and could go."""
    pytest.importorskip("deepspeed")
    bare = "import o3v.models.load as load, contextlib\nload.without_deepspeed = contextlib.nullcontext\n"
    assert said(bare + SAVE, tmp_path / "model").endswith("True\n")


def test_what_stood_there_is_put_back(monkeypatch):
    before = other.is_deepspeed_available
    monkeypatch.delitem(sys.modules, "deepspeed", raising=False)
    with without_deepspeed():
        assert not other.is_deepspeed_available()
    assert other.is_deepspeed_available is before
    monkeypatch.setitem(sys.modules, "deepspeed", sys)
    with without_deepspeed():
        assert other.is_deepspeed_available is before
