"""MLflow's own compare view in a headless browser, over a study written by the project's tracker.

A picture of it:  python -m tests.tracking.compare_view docs/pictures/mlflow_compare.png
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from o3v.tracking.mlflow_database import make_database
from o3v.tracking.run import RunFolder
from o3v.tracking.study_runs import close_member, close_study, open_study_runs
from tests.tracking.servers import Server, free_port, settings_for

ARMS, SEEDS, STEPS = ("o3", "no_gate", "fixed_sigma_4", "no_spatial"), (0, 1), 30
METRIC = "train/reward/total"


def write_study(server):
    """Four arms with two seeds, each with a stage `rl`; returns MLflow's ids of the stages' runs, by arm and seed."""
    make_database(server.folder / "mlflow.db")
    members = [(arm, seed) for arm in ARMS for seed in SEEDS]
    plain = settings_for(server.database)
    study = open_study_runs(plain, RunFolder(server.folder / "study"), "shapes_rewards", members, {})
    stages = {}
    for number, (arm, seed) in enumerate(members):
        tags = {"study": "shapes_rewards", "arm": arm, "seed": str(seed), "stage": "rl", "reward": arm}
        settings = settings_for(server.database, parent=study.member_ids[(arm, seed)], tags=tags)
        folder = RunFolder(server.folder / f"rl-{number}")
        tracker = settings.start(folder, f"rl-{number:08x}", {"reward": {"name": arm}, "seed": seed}, {})
        for step in range(STEPS):
            value = (step / STEPS) ** 0.5 * (1 - ARMS.index(arm) / 8) + seed / 40
            tracker.metrics({METRIC: value, "train/loss": 1 - value}, step)
        tracker.finish("finished")
        stages[(arm, seed)] = tracker.run_id
        close_member(plain, study.member_ids[(arm, seed)], ["finished"], {METRIC: value})
    close_study(plain, study.study_id, ["FINISHED"])
    return stages


def compare_address(server, runs):
    """Address of the compare view of some runs."""
    (experiment,) = [item for item in server.client().search_experiments() if item.name == "exp"]
    chosen, place = quote(json.dumps(list(runs))), quote(json.dumps([experiment.experiment_id]))
    return f"{server.uri}/#/compare-runs?runs={chosen}&experiments={place}"


def browse(chromium, address, *what, wait_ms=20_000):
    """What a headless browser prints for a page that has had `wait_ms` of its own time."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        command += ["--window-size=1500,2600", f"--virtual-time-budget={wait_ms}", *what, address]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def main(picture):
    """Writes the picture."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), free_port())
        runs = write_study(server)
        try:
            server.start()
            address = compare_address(server, [runs[(arm, 0)] for arm in ARMS])
            browse("chromium", address, f"--screenshot={Path(picture).absolute()}")
        finally:
            server.kill()
    with Image.open(picture) as taken:
        taken.convert("RGB").quantize(64).save(picture, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
