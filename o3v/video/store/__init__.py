"""Frames decoded once, kept on disk for loader workers, epochs, arms of a study and evaluations to share."""

from o3v.video.store.frame_store import FrameStore as FrameStore


def no_store() -> None:
    """What conf/store/none.yaml describes."""
