"""Errors travel between processes."""

import pickle

from o3v.errors import MediaError


def test_a_fault_of_a_loader_worker_arrives_whole():
    error = pickle.loads(pickle.dumps(MediaError("clip.mp4", "cut off")))
    assert (type(error), error.path, error.reason, str(error)) == (
        MediaError,
        "clip.mp4",
        "cut off",
        "clip.mp4: cut off",
    )
