"""The command on a prepared world, started as a process that a test may kill.

python -m tests.curation.killed ROWS OUT URL
"""

from __future__ import annotations

import sys
from pathlib import Path

from o3v.curate import main
from o3v.measure.curation import World
from tests.curation.parts import config, rules

if __name__ == "__main__":
    rows, out, url = sys.argv[1:]
    main.__wrapped__(config(World(rules(), {}, Path(rows)), Path(out), url))
