"""An explained completion as a picture: each claim on the key frame that it was compared with, and what was paid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from o3v.evidence.cited import cited_frames
from o3v.evidence.draw import MIN_WIDTH_PX, Block, answer_blocks, paragraph, stack, strip
from o3v.evidence.frame import Labelled, draw_frame
from o3v.evidence.text import FAINT, INK, Colour
from o3v.evidence.timeline import draw_timeline
from o3v.rewards.thinking import ClaimVerdict, nearest_frame
from o3v.types import Clip, KeyFrame, Sample

if TYPE_CHECKING:
    from o3v.replay.explain import Explanation, Payment

MAX_CLAIMS = 12
"""Claims drawn; the others are counted below them."""

_COLUMNS = 3
_PANEL_PX = 420
_PAID: Colour = (20, 130, 80)


def explanation_clip(explanation: Explanation, media_root: Path | None) -> Clip:
    """The frames that an explanation needs: at the key frames and cited times, in original size; or the still image.

    Args:
        explanation: names the media.
        media_root: folder below which relative paths are looked for; None takes them as they stand.

    Raises:
        MediaError: the media cannot be read.
    """
    from o3v.video.decode import open_video, read_image

    sample = explanation.sample
    if sample.video_path is None:
        image = read_image(_below(media_root, sample.image_path or Path()))
        return Clip(image[None], (), 0.0, (image.shape[1], image.shape[0]))
    with open_video(_below(media_root, sample.video_path)) as video:
        end_s = video.index.end_s
        wanted = [time_s for time_s in _times(explanation) if 0.0 <= time_s <= end_s] or [float(video.times_s[0])]
        pairs = list(video.frames_at(wanted))
    frames = np.stack([frame for _, frame in pairs])
    return Clip(frames, tuple(time_s for time_s, _ in pairs), end_s, (frames.shape[2], frames.shape[1]))


def explanation_picture(clip: Clip, explanation: Explanation) -> Image.Image:
    """Claims beside the annotation they were compared with, the timeline, the answer, and what every term paid.

    Boxes of the model are solid, annotated ones dashed. A claim behind a closed gate is drawn on the frame that it
    cites, without an annotation.

    Args:
        clip: frames of `explanation_clip`.
        explanation: of one completion.
    """
    sample, completion = explanation.sample, explanation.completion
    panels = _panels(clip, explanation)
    width = max(MIN_WIDTH_PX, min(_COLUMNS, len(panels)) * (_PANEL_PX + 10) + 10)
    blocks: list[Block] = [paragraph(sample.question or explanation.id, 19, INK, width, 4)]
    blocks.append(strip(panels, min(_COLUMNS, len(panels)), width))
    if len(explanation.verdicts) > MAX_CLAIMS:
        blocks.append(paragraph(f"and {len(explanation.verdicts) - MAX_CLAIMS} more claims", 13, FAINT, width, 1))
    if clip.times_s:
        blocks.append(draw_timeline(clip, completion, sample, width, None))
    blocks += answer_blocks(completion, sample, width)
    blocks += [_payment(payment, width) for payment in explanation.payments if payment.applies]
    return stack([*blocks, paragraph(f"total {explanation.total:.3f}", 19, INK, width, 1)], width)


def _payment(payment: Payment, width: int) -> Block:
    colour = _PAID if payment.paid > 0 else INK
    text = f"{payment.term} {payment.value:.3f} x {payment.weight:g}: {'; '.join(payment.reasons)}"
    return paragraph(text, 15, colour, width, 6)


def _panels(clip: Clip, explanation: Explanation) -> list[Image.Image]:
    colours: dict[str, Colour] = {}
    verdicts = explanation.verdicts[:MAX_CLAIMS]
    if clip.times_s and verdicts:
        return [_claim(clip, number, one, explanation.sample, colours) for number, one in enumerate(verdicts, start=1)]
    shown = cited_frames(clip, explanation.completion, explanation.sample)[:MAX_CLAIMS]
    caption = [f"{clip.times_s[one.index]:.1f} s" if clip.times_s else "" for one in shown]
    return [
        draw_frame(clip.frames[one.index], one.claimed, text, one.annotated, colours, max_width_px=_PANEL_PX)
        for one, text in zip(shown, caption, strict=True)
    ]


def _claim(clip: Clip, number: int, verdict: ClaimVerdict, sample: Sample, colours: dict[str, Colour]) -> Image.Image:
    claim, frame = verdict.claim, verdict.frame
    claimed: list[Labelled] = [(claim.name, box) for box in claim.boxes]
    nearest = nearest_frame(claim.time_s, sample.key_frames, None)
    gap = f", {abs(nearest.time_s - claim.time_s):.2f} s away" if nearest else ""
    verb = f"IoU {verdict.overlap:.2f}" if frame else "gate closed"
    shown_s = frame.time_s if frame else claim.time_s
    index = min(range(len(clip.times_s)), key=lambda k: abs(clip.times_s[k] - shown_s))
    caption = f"{number}: cites {claim.time_s:g} s{gap}, {verb}"
    picture = clip.frames[index]
    return draw_frame(picture, claimed, caption, _annotated(frame), colours, max_width_px=_PANEL_PX)


def _annotated(frame: KeyFrame | None) -> Sequence[Labelled]:
    return [(name, box) for name, boxes in frame.boxes.items() for box in boxes] if frame else ()


def _times(explanation: Explanation) -> list[float]:
    cited = [verdict.claim.time_s for verdict in explanation.verdicts] + list(explanation.completion.think_times_s)
    return [frame.time_s for frame in explanation.sample.key_frames] + cited


def _below(root: Path | None, path: Path) -> Path:
    return path if root is None else root / path
