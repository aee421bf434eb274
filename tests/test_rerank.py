"""Reranking: scores are the captioner's likelihoods, the best comes first, and every clip can be made again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from test_caption import captioner
from tiny import generator, tiny_model

from minisora.caption import VideoCaptioner
from minisora.language import BEGIN, Session
from minisora.loading import checkpoint_folder, load
from minisora.model import MiniSora
from minisora.patches import token_grid
from minisora.paths import DataError
from minisora.rerank import generate_best, rank

PROMPT = "a large red 3 moving up"
QUICK = {"frames": 5, "size": (32, 32), "steps": 2}


@pytest.fixture(scope="module")
def model() -> MiniSora:
    return tiny_model()


@pytest.fixture(scope="module")
def reader(model: MiniSora) -> VideoCaptioner:
    return VideoCaptioner(model.vae, captioner())


def by_session(latent: torch.Tensor, text: str) -> float:
    """The log-probability of a text's words, written one after the other by the plan that the text follows."""
    model = captioner()
    ids, total = model.tokenizer.encode(text), 0.0
    with torch.inference_mode():
        (features,) = model.eyes([latent[None]])
        planned = model.ground(features)(torch.cat([torch.tensor([BEGIN]), ids])[None])
        grid = token_grid(latent.shape[1:], model.config.eyes.footprint)
        session = Session(model.lm, model.prefix(features), grid, Planned(planned))
        for token in ids.tolist():
            if token <= model.tokenizer.end_id:
                break
            total += float(session.logits.log_softmax(dim=1)[0, token])
            session.step(torch.tensor([token]))
    return total


@dataclass(frozen=True)
class Planned:
    """Hints for one text that is known from the start: (1, l, D)."""

    hints: torch.Tensor

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        return self.hints[:, : ids.shape[1]]

    def select(self, index: torch.Tensor) -> Planned:
        return Planned(self.hints.index_select(0, index))


def test_a_likelihood_is_that_of_writing_the_words() -> None:
    shapes = [(4, 2, 4, 4), (4, 1, 4, 6), (4, 2, 4, 4)]  # two sizes, so that packing reorders them
    latents = [torch.randn(shape, generator=generator(i)) for i, shape in enumerate(shapes)]
    texts = [PROMPT, "a blue 7", "a small white 1 on navy"]
    found = captioner().log_likelihood(latents, texts)
    expected = [by_session(z, text) for z, text in zip(latents, texts, strict=True)]
    torch.testing.assert_close(found.tolist(), expected, atol=1e-3, rtol=1e-4)


def test_the_best_comes_first(model: MiniSora, reader: VideoCaptioner) -> None:
    found = rank(model, reader, PROMPT, candidates=5, seed=3, **QUICK)
    scores = [candidate.score for candidate in found]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 5
    assert sorted(candidate.seed for candidate in found) == [15, 16, 17, 18, 19]
    for candidate in found:
        again = model.generate(PROMPT, seed=candidate.seed, **QUICK)
        torch.testing.assert_close(again.video, candidate.clip.video, atol=1e-4, rtol=0)
        (score,) = reader.log_likelihood([again.video], [PROMPT]).tolist()
        assert score == pytest.approx(candidate.score, abs=1e-3)


def test_each_of_a_batch_can_be_made_alone(model: MiniSora, reader: VideoCaptioner) -> None:
    prompts = [PROMPT, "a blue 7"]
    both = generate_best(model, prompts, candidates=3, seed=4, captioner=reader, **QUICK)
    alone = generate_best(model, prompts[1], candidates=3, seed=5, captioner=reader, **QUICK)
    assert [clip.prompt for clip in both] == prompts
    torch.testing.assert_close(both[1].video, alone.video, atol=1e-4, rtol=0)


def test_one_candidate_is_plain_generation(model: MiniSora, reader: VideoCaptioner) -> None:
    best = generate_best(model, PROMPT, candidates=1, seed=7, captioner=reader, **QUICK)
    assert best.video.equal(model.generate(PROMPT, seed=7, **QUICK).video)


@pytest.mark.parametrize(("prompt", "candidates"), [("", 4), ("  ", 4), (PROMPT, 0)])
def test_nothing_to_compare(
    model: MiniSora, reader: VideoCaptioner, prompt: str, candidates: int
) -> None:
    with pytest.raises(ValueError, match="at least 1 candidate, and a prompt of at least one word"):
        rank(model, reader, prompt, candidates=candidates, **QUICK)


def test_a_model_without_a_captioner_says_so(model: MiniSora, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pass one as `captioner`"):
        generate_best(model, PROMPT, **QUICK)
    model.save(tmp_path)
    with pytest.raises(DataError, match="train-captioner"):
        generate_best(load(tmp_path), PROMPT, **QUICK)


def test_the_shipped_captioner_knows_which_clip_is_meant() -> None:
    from minisora.caption import load_captioner
    from minisora.worlds import MovingMNIST, WorldConfig

    world = MovingMNIST(WorldConfig(max_digits=1, split="test"), seed=73)
    clips = [world[i] for i in range(8)]
    shipped = load_captioner(checkpoint_folder("moving-mnist"))
    for clip in clips:
        scores = shipped.log_likelihood([c.video for c in clips], [clip.caption] * len(clips))
        assert clips[int(scores.argmax())] is clip
