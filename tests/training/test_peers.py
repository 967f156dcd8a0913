"""What processes of a run ask of each other; two real ones: tests/training/test_layouts.py."""

import json
import subprocess
import sys

from o3v.training.peers import ALONE, mean_metrics
from tests import tiny

TWO = """
import json, sys
import torch.distributed as dist
from o3v.training.peers import mean_metrics
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
found = mean_metrics([{"loss": 1.0, "only": 3.0}, {"loss": 2.0}][rank])
print(json.dumps(found))
"""


def test_one_process_agrees_with_itself():
    with ALONE.gathered():
        assert ALONE.most([3, 0]) == [3, 0] and ALONE.mean(1.5) == 1.5 and ALONE.state() is None
    assert mean_metrics({"loss": 1.0}) == {"loss": 1.0}


def test_a_metric_is_the_mean_of_the_processes_that_have_it(tmp_path):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, str(rank), str(tmp_path / "meeting")],
            cwd=tiny.CONF.parent,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = [json.loads(process.communicate(timeout=120)[0].splitlines()[-1]) for process in started]
    assert told == [{"loss": 1.5, "only": 3.0}] * 2
