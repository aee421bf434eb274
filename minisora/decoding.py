"""Writing text from a language model: greedy, by nucleus, or by beam search; freely or within a rule.

Where it stands: `language` -> [decoding] -> `caption`, `expand`. Nucleus: Holtzman et al. 2020, arXiv 1904.09751.

A `Rule` says which tokens may come next, so that a text can be forced to be of some form whatever the model likes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from minisora.language import Session

Method = Literal["greedy", "beam", "nucleus"]
METHODS: tuple[str, ...] = ("greedy", "beam", "nucleus")


class Rule(Protocol):
    """A language to stay within. States are values: going on from one leaves it as it was."""

    def start(self) -> Any:
        """The state before the first token."""

    def allowed(self, state: Any) -> Sequence[int]:
        """Ids that may come next, the end token among them; never empty before the end."""

    def advance(self, state: Any, token: int) -> Any:
        """The state after one of the allowed tokens."""


@dataclass(frozen=True)
class Decoding:
    """How to choose words.

    Args:
        method: "greedy" takes the likeliest token, "beam" the likeliest of the texts it follows, "nucleus" draws.
        beams: texts followed by "beam".
        temperature: of "nucleus": below 1 likelier, above 1 more various.
        top_p: "nucleus" draws among the likeliest tokens that together have this probability; 1 draws among all.
    """

    method: Method = "greedy"
    beams: int = 4
    temperature: float = 1.0
    top_p: float = 0.9

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method={self.method!r}: choose one of {', '.join(METHODS)}.")
        if self.beams < 1 or self.temperature <= 0 or not 0 < self.top_p <= 1:
            raise ValueError(
                f"beams={self.beams}, temperature={self.temperature}, top_p={self.top_p}: give at least 1 beam, "
                "a temperature above 0 and a top_p above 0, at most 1."
            )


def write(
    session: Session,
    how: Decoding,
    end_id: int,
    max_length: int,
    generator: torch.Generator | None = None,
    rules: Sequence[Rule] | None = None,
) -> list[list[int]]:
    """Write one text for each prefix of a session.

    Args:
        session: fresh.
        how: method and its numbers.
        end_id: the token that ends a text; ids below it are registers, which are never written.
        max_length: tokens after which a text is cut.
        generator: for "nucleus", which needs one.
        rules: one for each text, if its form is forced.

    Returns:
        the ids of each text, without its end.

    Raises:
        ValueError: nucleus without a generator.
    """
    if how.method == "nucleus" and generator is None:
        raise ValueError("Decoding by nucleus draws words; pass a torch.Generator.")
    limits = _Limits(end_id, rules)
    with torch.inference_mode():
        if how.method == "beam":
            return _beam(session, how.beams, limits, max_length)
        return _one_by_one(session, how, limits, max_length, generator)


class _Limits:
    """Logits with what may not be written taken out."""

    def __init__(self, end_id: int, rules: Sequence[Rule] | None) -> None:
        self.end_id, self.rules = end_id, rules

    def starts(self, count: int) -> list[Any]:
        return [rule.start() for rule in self.rules] if self.rules else [None] * count

    def apply(self, logits: Tensor, states: Sequence[Any], owner: Sequence[int]) -> Tensor:
        """Log-probabilities (n, V); row i has state `states[i]` under the rule of text `owner[i]`."""
        masked = logits.clone()
        masked[:, : self.end_id] = -math.inf
        if self.rules:
            barred = torch.ones_like(masked, dtype=torch.bool)
            for i, state in enumerate(states):
                barred[i, list(self.rules[owner[i]].allowed(state))] = False
            masked = masked.masked_fill(barred, -math.inf)
        return masked.log_softmax(dim=1)

    def advance(self, state: Any, owner: int, token: int) -> Any:
        if self.rules is None or token == self.end_id:
            return state
        return self.rules[owner].advance(state, token)


def _one_by_one(
    session: Session,
    how: Decoding,
    limits: _Limits,
    max_length: int,
    generator: torch.Generator | None,
) -> list[list[int]]:
    count = len(session.logits)
    texts: list[list[int]] = [[] for _ in range(count)]
    states, owner, open_ = limits.starts(count), list(range(count)), set(range(count))
    for _ in range(max_length):
        logp = limits.apply(session.logits, states, owner)
        ids = (
            logp.argmax(dim=1)
            if generator is None or how.method == "greedy"
            else (_draw(logp, how, generator))
        )
        for i in sorted(open_):
            token = int(ids[i])
            if token == limits.end_id:
                open_.remove(i)
            else:
                texts[i].append(token)
                states[i] = limits.advance(states[i], i, token)
        if not open_:
            break
        session.step(ids)
    return texts


def _draw(logp: Tensor, how: Decoding, generator: torch.Generator) -> Tensor:
    """One token (n,) from each row's nucleus."""
    probability, order = (logp / how.temperature).softmax(dim=1).sort(dim=1, descending=True)
    before = probability.cumsum(dim=1) - probability
    kept = probability.masked_fill(before >= how.top_p, 0.0)
    pick = torch.multinomial(kept.cpu(), 1, generator=generator).to(order.device)
    return order.gather(1, pick)[:, 0]


def _beam(session: Session, beams: int, limits: _Limits, max_length: int) -> list[list[int]]:
    """The finished text of each row whose mean log-probability a token, its end included, is highest."""
    count, device = len(session.logits), session.logits.device
    session.reorder(torch.arange(count, device=device).repeat_interleave(beams))
    owner = [i // beams for i in range(count * beams)]
    texts: list[list[int]] = [[] for _ in owner]
    states = [state for state in limits.starts(count) for _ in range(beams)]
    scores = torch.full((count, beams), -math.inf, device=device)
    scores[:, 0] = 0.0  # all beams are equal at first: follow one
    done: list[list[tuple[float, list[int]]]] = [[] for _ in range(count)]
    for _ in range(max_length):
        logp = limits.apply(session.logits, states, owner).view(count, beams, -1)
        best, place = (scores[..., None] + logp).flatten(1).topk(2 * beams)  # (count, 2 beams)
        parents, tokens = place // logp.shape[2], place % logp.shape[2]
        kept: list[tuple[int, int, float]] = []  # row it comes from, token, score
        for i in range(count):
            mine: list[tuple[int, int, float]] = []
            for score, parent, token in zip(
                best[i].tolist(), parents[i].tolist(), tokens[i].tolist(), strict=True
            ):
                row = i * beams + parent
                if token == limits.end_id and score > -math.inf:
                    done[i].append((score / (len(texts[row]) + 1), texts[row]))
                elif token != limits.end_id and len(mine) < beams:
                    mine.append((row, token, score))
            kept += mine
        if all(len(texts_done) >= beams for texts_done in done):
            break
        states = [
            limits.advance(states[row], owner[row], token) if score > -math.inf else states[row]
            for row, token, score in kept
        ]
        texts = [[*texts[row], token] for row, token, _ in kept]
        scores = torch.tensor([score for *_, score in kept], device=device).view(count, beams)
        session.reorder(torch.tensor([row for row, *_ in kept], device=device))
        session.step(torch.tensor([token for _, token, _ in kept], device=device))
    cut = [[(float(scores[i, 0]) / max_length, texts[i * beams])] for i in range(count)]
    return [max(mine or spare)[1] for mine, spare in zip(done, cut, strict=True)]
