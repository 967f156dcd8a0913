"""What annotators are asked: texts of the configuration with places to fill in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from string import Template

from o3v.errors import ConfigError

PLACES: dict[str, frozenset[str]] = {
    "system": frozenset(),
    "question": frozenset({"boxes", "frames", "objects", "duration_s", "question", "answer"}),
    "segment": frozenset({"boxes", "frames", "objects", "duration_s", "description", "start_s", "end_s"}),
    "caption": frozenset({"boxes", "frames", "objects", "duration_s", "description"}),
    "crop": frozenset({"name"}),
    "sentence": frozenset({"name", "sentence"}),
}
"""Text -> what it may name with a dollar sign; `$$` is a dollar."""


@dataclass(frozen=True)
class PromptTexts:
    """Texts in the annotator's turn (conf/curate.yaml).

    Attributes:
        system: system text of a proposal in JSON.
        question: question and answer are given; key frames and reasoning are wanted.
        segment: a description of what happens in a segment is given; all the rest is wanted.
        caption: a description of the whole video is given.
        crop: whether a crop shows an object.
        sentence: whether a sentence fits a crop.
    """

    system: str
    question: str
    segment: str
    caption: str
    crop: str
    sentence: str

    def __post_init__(self) -> None:
        """Reject places that nothing fills."""
        for item in fields(self):
            template, allowed = Template(getattr(self, item.name)), PLACES[item.name]
            if not template.is_valid() or set(template.get_identifiers()) - allowed:
                raise ConfigError(
                    f"prompts.{item.name}: names {sorted(template.get_identifiers())} or a bare dollar; allowed are "
                    f"{sorted(f'${name}' for name in allowed)} and $$"
                )

    def fill(self, text: str, values: Mapping[str, object]) -> str:
        """One of the texts, filled in; values are taken as they are.

        >>> PromptTexts("", "", "", "", "Is this a $name?", "").fill("crop", {"name": "$5 note"})
        'Is this a $5 note?'
        """
        return Template(getattr(self, text)).substitute(values).strip()
