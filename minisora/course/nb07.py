"""Checkers of notebook 07, text and recaptioning: each holds an answer against another way to compute it."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from minisora.course.exercises import Wrong, exercise, expect_shape

Blend = Callable[[list[str], list[str], Tensor, float], list[str]]
CaptionLoss = Callable[[Tensor, Tensor, int], Tensor]
Allowed = Callable[[list[list[str]], list[str]], set[str]]
GuidedWords = Callable[[Tensor, Tensor, float], Tensor]


@exercise("07.1")
def blend(answer: Blend) -> None:
    """Against a loop over clips, with blends from 0 to 1 and clips that have no original."""
    generator = torch.Generator().manual_seed(1)
    for share, count in product((0.0, 0.3, 0.95, 1.0), (1, 4, 40)):
        u = torch.rand(count, generator=generator)
        u[0] = share if share < 1 else 0.0  # on the edge: not below it
        originals = [f"old {i}" if (i + count) % 3 else "" for i in range(count)]
        synthetics = [f"new {i}" for i in range(count)]
        found = answer(list(originals), list(synthetics), u.clone(), share)
        case = f"a blend of {share:g} and {count} clip{'s' if count > 1 else ''}"
        if not isinstance(found, list) or len(found) != count:
            raise Wrong(f"for {case} a list of {count} captions is due; you return {found!r}.")
        for i, caption in enumerate(found):
            new = float(u[i]) < share or not originals[i]
            right = synthetics[i] if new else originals[i]
            if caption != right:
                why = "has no original" if not originals[i] else f"drew u = {float(u[i]):.3f}"
                raise Wrong(
                    f"for {case}, clip {i} {why}, so its caption is {right!r}; you say {caption!r}."
                )


@exercise("07.2")
def caption_loss(answer: CaptionLoss) -> None:
    """Against a loop over texts and their tokens, with texts of unlike lengths."""
    end, ids_total = 4, 9
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        logits = 2 * torch.randn(3, 6, ids_total, generator=generator, dtype=torch.float64)
        ids = torch.arange(6).clamp(max=3).repeat(3, 1)  # registers
        for row, words in enumerate((5, 1 + seed, 0)):
            ids[row, :words] = torch.randint(end + 1, ids_total, (words,), generator=generator)
            ids[row, words] = end
        found = answer(logits.clone(), ids.clone(), end)
        case = f"{len(ids)} texts of {', '.join(str(int((r > end).sum())) for r in ids)} words"
        expect_shape(found, (), case)
        losses = [
            [-math.log(_softmax(logits[n, i].tolist())[int(ids[n, i])]) for i in range(6)]
            for n in range(3)
        ]
        _explain_loss(float(found), losses, ids.tolist(), end, case)


def _explain_loss(
    found: float, losses: list[list[float]], ids: list[list[int]], end: int, case: str
) -> None:
    """Say which tokens a wrong mean was taken over."""

    def mean(keep: Callable[[int], bool]) -> float:
        kept = [
            x
            for row, names in zip(losses, ids, strict=True)
            for x, name in zip(row, names, strict=True)
            if keep(name)
        ]
        return sum(kept) / len(kept)

    right = mean(lambda name: name >= end)
    if abs(found - right) < 1e-5:
        return
    told = f"for {case} the loss is {right:.4f} nats a token; you say {found:.4f}"
    if abs(found - mean(lambda name: True)) < 1e-5:
        raise Wrong(f"{told}, which counts registers, too.")
    if abs(found - mean(lambda name: name > end)) < 1e-5:
        raise Wrong(f"{told}, which leaves the end out; a captioner must learn to stop.")
    by_text = [
        [x for x, name in zip(row, names, strict=True) if name >= end]
        for row, names in zip(losses, ids, strict=True)
    ]
    if abs(found - sum(sum(row) / len(row) for row in by_text) / len(by_text)) < 1e-5:
        raise Wrong(f"{told}: that is the mean over texts; every token should count the same.")
    if abs(found - sum(map(sum, by_text))) < 1e-5:
        raise Wrong(f"{told}: that is a sum.")
    raise Wrong(f"{told}. Which logits belong to which id?")


def _softmax(logits: list[float]) -> list[float]:
    top = max(logits)
    powers = [math.exp(x - top) for x in logits]
    return [p / sum(powers) for p in powers]


@exercise("07.3")
def allowed(answer: Allowed) -> None:
    """Against all sentences of small languages, walked word by word."""
    small = [["a", "red", "3"], ["a", "red", "3", "on", "gray"], ["a", "3", "in", "red"]]
    numbers = [[word for word in line if word] for line in product("ab", ("", "c"), "ac")]
    languages: list[list[list[str]]] = [small, numbers, [[]]]
    for language in languages:
        beginnings = {tuple(line[:i]) for line in language for i in range(len(line) + 1)}
        for beginning in [*sorted(beginnings), ("zzz",)]:
            written = list(beginning)
            found = answer([list(line) for line in language], list(written))
            case = f"after {' '.join(written) or 'nothing'!r}"
            if not isinstance(found, set):
                raise Wrong(f"{case} you return {type(found).__name__}, not a set of words.")
            right = {
                (line[len(written)] if len(line) > len(written) else "")
                for line in language
                if tuple(line[: len(written)]) == beginning
            }
            _explain_allowed(found, right, case)


def _explain_allowed(found: set[str], right: set[str], case: str) -> None:
    if wrong := sorted(found - right):
        if wrong == [""]:
            raise Wrong(f"{case} no sentence ends, but your answer says that one may.")
        raise Wrong(f"{case} you allow {wrong[-1]!r}, which leads to no sentence of the language.")
    if missing := sorted(right - found):
        word = "the end" if missing == [""] else repr(missing[-1])
        raise Wrong(f"{case} {word} may come next, and your answer leaves it out.")


@exercise("07.4")
def guided_words(answer: GuidedWords) -> None:
    """Against powers of probabilities, one row at a time; both ends of gamma first."""
    generator = torch.Generator().manual_seed(5)
    seeing, blind = 2 * torch.randn(2, 3, 6, generator=generator, dtype=torch.float64)
    for gamma in (1.0, 0.0, 2.0, 1.5, 0.4):
        found = answer(seeing.clone(), blind.clone(), gamma)
        case = f"gamma {gamma:g}"
        expect_shape(found, (3, 6), case)
        for row in range(3):
            p, q = (_softmax(x[row].tolist()) for x in (seeing, blind))
            powers = [b * (a / b) ** gamma for a, b in zip(p, q, strict=True)]
            right = [x / sum(powers) for x in powers]
            _explain_guided(found[row].tolist(), right, (p, q, gamma), f"for {case}, row {row},")


def _explain_guided(
    found: list[float],
    right: list[float],
    known: tuple[list[float], list[float], float],
    case: str,
) -> None:
    p, q, gamma = known
    total = sum(math.exp(x) for x in found)
    gap = max(abs(math.exp(x) - due) for x, due in zip(found, right, strict=True))
    if gap < 1e-6:
        return
    if abs(total - 1) > 1e-5:
        raise Wrong(f"{case} the probabilities sum to {total:.3f}; scale them to 1.")
    mixed = [gamma * a + (1 - gamma) * b for a, b in zip(p, q, strict=True)]
    if max(abs(math.exp(x) - due) for x, due in zip(found, mixed, strict=True)) < 1e-6:
        raise Wrong(f"{case} probabilities are mixed; the formula multiplies powers of them.")
    if gamma in (0.0, 1.0):
        whose = "the captioner's" if gamma else "those of the blind model"
        raise Wrong(f"{case} the probabilities should be {whose}; they are {gap:.3f} off.")
    raise Wrong(f"{case} a probability is {gap:.3f} off, though gamma 0 and 1 are right.")
