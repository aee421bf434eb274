"""The best of several clips: a captioner reads each, and the one that most likely is what was asked for is kept.

Where it stands: `model`, `caption` -> [rerank]. DALL-E (Ramesh et al. 2021, arXiv 2102.12092) drew 512 images for each
prompt and showed the one that CLIP found closest to it; Parti (Yu et al. 2022, arXiv 2206.10789) did so with 16. Here
the score is log p(prompt | clip) of the captioner, which was trained apart from the generator. What it costs is plain:
as many times the sampling. It mends clips that miss their prompt now and then, not what the generator cannot make.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from minisora.caption import VideoCaptioner, load_captioner
from minisora.model import MiniSora
from minisora.paths import DataError

if TYPE_CHECKING:
    from minisora.video import VideoClip


@dataclass(frozen=True)
class Candidate:
    """A clip, the seed that `MiniSora.generate` made it from, and its score: log p(prompt | clip) in nats."""

    clip: VideoClip
    seed: int
    score: float


def rank(
    model: MiniSora,
    captioner: VideoCaptioner,
    prompt: str,
    *,
    candidates: int = 8,
    seed: int = 0,
    **settings: Any,
) -> list[Candidate]:
    """Make several clips for one prompt, and order them, the best first.

    Args:
        model: makes them.
        captioner: scores them.
        prompt: at least one word, else nothing could be compared.
        candidates: how many, 1 or more.
        seed: candidate j is made from seed * candidates + j, so that no two seeds share one.
        settings: of `MiniSora.generate`.

    Raises:
        ValueError: if the prompt is empty or there is no candidate.
    """
    if candidates < 1 or not prompt.strip():
        raise ValueError(
            f"candidates={candidates} for the prompt {prompt!r}: give at least 1 candidate, and a prompt of at "
            "least one word to compare them by."
        )
    first = seed * candidates
    clips = model.generate([prompt] * candidates, seed=first, **settings)
    scores = captioner.log_likelihood([clip.video for clip in clips], [prompt] * candidates)
    found = [
        Candidate(clip, first + j, score)
        for j, (clip, score) in enumerate(zip(clips, scores.tolist(), strict=True))
    ]
    return sorted(found, key=lambda candidate: candidate.score, reverse=True)


@overload
def generate_best(model: MiniSora, prompt: str, **settings: Any) -> VideoClip: ...
@overload
def generate_best(
    model: MiniSora, prompt: list[str] | tuple[str, ...], **settings: Any
) -> list[VideoClip]: ...
def generate_best(  # type: ignore[misc]  # the overloads leave its settings out
    model: MiniSora,
    prompt: str | Sequence[str],
    *,
    candidates: int = 8,
    seed: int = 0,
    frames: int = 17,
    expand: bool = False,
    captioner: VideoCaptioner | None = None,
    **settings: Any,
) -> VideoClip | list[VideoClip]:
    """`MiniSora.generate`, but each clip is the best of several.

    Args:
        model: makes them.
        prompt: one prompt, or a list for a batch; none empty.
        candidates: clips made for each prompt; 1 is `generate` itself.
        seed: clip i of a batch uses seed + i, so each can be made again alone; see `rank`.
        frames, expand, settings: as in `MiniSora.generate`; a prompt is expanded once for all its candidates.
        captioner: scores the candidates; by default the one of the model's checkpoint.

    Raises:
        ValueError: as `rank` and `MiniSora.generate`.
        DataError: if the checkpoint has no captioner.
    """
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if captioner is None:
        captioner = captioner_of(model)
    if expand:
        prompts = model.expand(prompts, frames=frames, seed=seed)
    best = [
        rank(
            model, captioner, text, candidates=candidates, seed=seed + i, frames=frames, **settings
        )
        for i, text in enumerate(prompts)
    ]
    clips = [found[0].clip for found in best]
    return clips[0] if isinstance(prompt, str) else clips


def captioner_of(model: MiniSora) -> VideoCaptioner:
    """The captioner that lies beside the model's weights.

    Raises:
        DataError: if the model was not loaded from a folder, or none lies there.
    """
    if model.folder is None:
        raise DataError(
            "This model was not loaded from a checkpoint, so no captioner lies beside it; pass one as `captioner`."
        )
    return load_captioner(model.folder, device=model.device)
