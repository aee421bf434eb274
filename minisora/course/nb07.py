"""Checkers of notebook 07, text and recaptioning: each holds an answer against another way to compute it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import Tensor

from minisora.course.exercises import Wrong, exercise, expect_shape

Following = Callable[[list[list[str]], list[str]], set[str]]
PackedMask = Callable[[list[tuple[int, int]]], Tensor]
FitOf = Callable[[Tensor, Tensor, int], Tensor]
NextLogP = Callable[[list[int]], Tensor]
BeamSearch = Callable[[NextLogP, int, int], list[int]]
Trie = dict[str, Any]

SENTENCES = (
    "a red 3",
    "a red 3 moves up",
    "a red 7 moves up",
    "a large red 3",
    "on black a red 3",
    "on navy a 3 moves",
    "a large blue 3 moves fast",
)


@exercise("07.1")
def following(answer: Following) -> None:
    """Against a tree of words, after every beginning of every sentence and after some that are none."""
    for count in (1, 3, 4, 7):
        sentences = [text.split() for text in (*SENTENCES[-count:], SENTENCES[-1])]  # one twice
        said = {tuple(words[:n]) for words in sentences for n in range(len(words) + 1)}
        odd = [("red",), ("a", "3"), ("a", "red", "3", "moves", "up", "up"), ("moves",)]
        for words in [*sorted(said), *odd]:
            given, beginning = copy.deepcopy(sentences), list(words)
            found = answer(given, beginning)
            case = f"for {' / '.join(' '.join(s) for s in sentences)!r} after {' '.join(words)!r}"
            if given != sentences or beginning != list(words):
                raise Wrong(f"{case} your function changes the lists that it was given.")
            _compare_words(found, _children(_tree(sentences), words), case)


def _tree(sentences: list[list[str]]) -> Trie:
    """Words that may come first, each with the tree of what follows; "" marks an end."""
    root: Trie = {}
    for words in sentences:
        node = root
        for word in words:
            node = node.setdefault(word, {})
        node[""] = {}
    return root


def _children(tree: Trie, words: tuple[str, ...]) -> set[str]:
    for word in words:
        tree = tree.get(word, {})
    return set(tree)


def _compare_words(found: object, right: set[str], case: str) -> None:
    if not isinstance(found, set | frozenset):
        raise Wrong(f"{case} you return {type(found).__name__}, not a set.")
    if extra := found - right:
        word = min(extra, key=str)
        what = "the sentence may not end" if word == "" else f"{word!r} may not come"
        raise Wrong(f"{case} {what}, but your set has it.")
    if missing := right - found:
        word = min(missing)
        what = "a sentence may end" if word == "" else f"{word!r} may come"
        raise Wrong(f"{case} {what}, but your set lacks it.")


@exercise("07.2")
def packed_prefix_mask(answer: PackedMask) -> None:
    """Against a loop over pairs of tokens, for clips of many sizes."""
    cases = [
        [(3, 4)],
        [(1, 1)],
        [(2, 3), (4, 1)],
        [(3, 2), (3, 2), (1, 5)],
        [(5, 1), (1, 2), (4, 6)],
    ]
    for clips in cases:
        found = answer(list(clips))
        total = sum(text + prefix for text, prefix in clips)
        expect_shape(found, (total, total), f"clips {clips}")
        if found.dtype != torch.bool:
            raise Wrong(
                f"the mask for clips {clips} is of {found.dtype}; it should be of torch.bool."
            )
        tokens = [
            (clip, kind, n)
            for clip, lengths in enumerate(clips)
            for kind, length in zip(("text", "prefix"), lengths, strict=True)
            for n in range(length)
        ]
        for i, j in product(range(total), repeat=2):
            right = _sees(tokens[i], tokens[j])
            if bool(found[i, j]) != right:
                raise Wrong(
                    f"for clips {clips} row {i} ({_name(tokens[i])}) {'must' if right else 'must not'} see "
                    f"column {j} ({_name(tokens[j])})."
                )


def _sees(row: tuple[int, str, int], column: tuple[int, str, int]) -> bool:
    """Whether a token sees another; each is (clip, kind, place)."""
    if row[0] != column[0]:
        return False
    if column[1] == "prefix":
        return True
    return row[1] == "text" and column[2] <= row[2]


def _name(token: tuple[int, str, int]) -> str:
    return f"{token[1]} token {token[2]} of clip {token[0]}"


@exercise("07.3")
def fit_of(answer: FitOf) -> None:
    """Against sums in double precision, one token at a time; texts of many lengths, one of them empty."""
    generator = torch.Generator().manual_seed(3)
    for lengths, length, end, tokens in (
        ([3], 6, 6, 9),
        ([1, 5, 0], 8, 8, 12),
        ([7, 2], 8, 16, 40),
        ([4, 4, 4], 5, 6, 300),
    ):
        rows = []
        for words in lengths:
            written = torch.randint(end + 1, tokens, (words,), generator=generator).tolist()
            ids = [*written, end] if words else []
            rows.append(ids + list(range(length - len(ids))))
        ids_of = torch.tensor(rows)
        logits = 2 * torch.randn(len(rows), length, tokens, generator=generator) + 1
        case = f"texts of {lengths} words, the end being {end}"
        found = answer(logits.clone(), ids_of.clone(), end)
        expect_shape(found, (len(rows),), case)
        _compare_fit(found, logits, ids_of, end, case)


def _sums(logits: Tensor, ids: Tensor, first: int) -> list[float]:
    """Of each row, the sum of log-probabilities of the ids that are `first` or above."""
    sums = []
    for rows, written in zip(logits.double().tolist(), ids.tolist(), strict=True):
        pairs = [(row, i) for row, i in zip(rows, written, strict=True) if i >= first]
        sums.append(sum(row[i] - math.log(sum(map(math.exp, row))) for row, i in pairs))
    return sums


def _compare_fit(found: Tensor, logits: Tensor, ids: Tensor, end: int, case: str) -> None:
    """Raise Wrong, with what a common mistake gives, unless the sums are right."""
    right = _sums(logits, ids, end + 1)
    if _near(found, right):
        return
    if _near(found, _sums(logits, ids, end)):
        raise Wrong(f"for {case} your sums include the end tokens; only words count.")
    if _near(found, _sums(logits, ids, 0)):
        raise Wrong(f"for {case} your sums include ends and registers; only words count.")
    if _near(-found, right):
        raise Wrong(f"for {case} the sign is wrong: a log-probability is never above 0.")
    counts = (ids > end).sum(dim=1).clamp(min=1)
    if _near(found * counts, right):
        raise Wrong(f"for {case} you give means over the words of a text; sums are asked for.")
    row = max(range(len(right)), key=lambda i: abs(float(found[i]) - right[i]))
    raise Wrong(
        f"for {case} text {row} has {right[row]:.3f} nats; you say {float(found[row]):.3f}."
    )


def _near(found: Tensor, right: list[float]) -> bool:
    return torch.allclose(found.double(), torch.tensor(right).double(), rtol=1e-3, atol=1e-3)


@exercise("07.4")
def beam_search(answer: BeamSearch) -> None:
    """Against a plain search over tuples: few beams, one, and so many that nothing is ever dropped."""
    cases = [(4, 3, 1, 0), (3, 5, 2, 2), (6, 4, 3, 57), (4, 4, 64, 4), (7, 1, 2, 5)]
    cases += [(5, 4, 2, 4), (4, 5, 2, 8), (5, 3, 2, 18)]  # seeds by which few beams miss the best
    for tokens, length, k, seed in cases:
        chances = _language(tokens, seed)
        found = answer(chances, length, k)
        case = f"{tokens} tokens, length {length} and k = {k}"
        if not isinstance(found, list) or any(i not in range(tokens) for i in map(int, found)):
            raise Wrong(
                f"for {case} you return {found!r}, not a list of ids from 0 to {tokens - 1}."
            )
        if len(found) != length:
            raise Wrong(f"for {case} you return {len(found)} ids.")
        _compare_text(tuple(map(int, found)), chances, (tokens, length, k), case)


def _language(tokens: int, seed: int) -> NextLogP:
    """Fixed random chances of the next token after any text."""

    def next_logp(ids: list[int]) -> Tensor:
        digest = sum((int(i) + 1) * 31**n for n, i in enumerate(ids)) + 100_003 * seed
        generator = torch.Generator().manual_seed(digest % 2**31)
        return (1.5 * torch.randn(tokens, generator=generator)).log_softmax(dim=0)

    return next_logp


def _beams(chances: NextLogP, tokens: int, length: int, k: int) -> tuple[int, ...]:
    """What k beams find."""
    kept: dict[tuple[int, ...], float] = {(): 0.0}
    for _ in range(length):
        longer = {
            (*text, i): score + float(logp)
            for text, score in kept.items()
            for i, logp in enumerate(chances(list(text)))
        }
        kept = dict(sorted(longer.items(), key=lambda item: -item[1])[:k])
    return next(iter(kept))


def _compare_text(
    found: tuple[int, ...], chances: NextLogP, sizes: tuple[int, int, int], case: str
) -> None:
    """Raise Wrong, with the scores of both, unless it is the text that the beams lead to."""
    tokens, length, k = sizes
    right = _beams(chances, tokens, length, k)
    if found == right:
        return
    known = ""
    if found == _beams(chances, tokens, length, 1):
        known = " That is what a single beam finds."
    elif found == _beams(chances, tokens, length, tokens**length):
        known = " That is the likeliest text of all, which so few beams do not find here."
    scores = [sum(float(chances(list(t[:n]))[t[n]]) for n in range(length)) for t in (right, found)]
    raise Wrong(
        f"for {case} the beams lead to a text of {scores[0]:.3f} nats; yours, {list(found)}, has "
        f"{scores[1]:.3f}.{known}"
    )
