"""Sample -> Clip -> Prompt: the one way by which training, evaluation and answering look at a sample."""

from __future__ import annotations

from dataclasses import dataclass

from o3v.models.family import Family
from o3v.prompts.build import build_prompt
from o3v.types import Prompt, Sample
from o3v.video.reader import Reader


@dataclass(frozen=True)
class Preparer:
    """`prepare` of DESIGN: runs in loader workers.

    Attributes:
        reader: decodes and resizes.
        family: how big frames are and how boxes are written.
    """

    reader: Reader
    family: Family

    def __call__(self, sample: Sample) -> Prompt:
        """What the model is shown and asked about a sample.

        Raises:
            MediaError: the video or image cannot be decoded.
        """
        clip = self.reader.read(sample, self.family.factor)
        return build_prompt(sample, clip, self.family.box_scale(clip.size_px))
