"""Hints for the next word equal Bayes' rule written out, and a place that was told is not told again."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny import generator

from minisora.grounding import WORDS, Grounding, phrase_words
from minisora.text import Tokenizer
from minisora.worlds import VOCABULARY, MovingMNIST, WorldConfig, caption
from minisora.worlds.alt_text import alt_text
from minisora.worlds.statements import OPENING, phrases

TOKENIZER = Tokenizer(VOCABULARY)
V = len(TOKENIZER)


def grounding(log_p: torch.Tensor, voices: torch.Tensor) -> Grounding:
    opens, counts = phrase_words(TOKENIZER)
    table = torch.randn(V, 8, generator=generator(9))
    return Grounding(log_p.log_softmax(-1), voices.log_softmax(-1), opens, counts, table)


def read(*texts: str) -> torch.Tensor:
    """What a captioner has read before it writes each word, and after all: (n, 1 + l)."""
    ids = TOKENIZER.encode_batch(texts)
    return torch.cat([torch.zeros_like(ids[:, :1]), ids], dim=1)


def places(*said: str, spread: float = 1e-4) -> torch.Tensor:
    """(1, P, V): each place says the words of a text, all equally likely, and hardly any other."""
    p = torch.full((1, len(said), V), spread)
    for place, text in enumerate(said):
        for word in text.split():
            p[0, place, int(TOKENIZER.encode(word)[0])] += 1
    return p.log()


def test_phrases_begin_where_they_are_cut() -> None:
    world, rng = MovingMNIST(WorldConfig(), seed=6), np.random.default_rng(2)
    for i in range(200):
        scene = world.scene(i)
        for text in (caption(scene, "detailed", rng), alt_text(scene, rng)):
            cut: list[list[str]] = [[]]
            for word in text.replace(",", " ,").split():
                cut += [[]] if word in OPENING else []
                cut[-1] += [word] * (word not in OPENING)
            links = {"in", "front", "of", "behind", "and", "the", "digit"}
            whole = [set(phrase.split()) | links for phrase in phrases(text)]
            assert all(any(set(part) <= phrase for phrase in whole) for part in cut), text


def test_hints_equal_bayes_rule_written_out() -> None:
    g = generator(1)
    log_p = (2 * torch.randn(1, 5, V, generator=g)).log_softmax(-1)
    voices = torch.randn(1, 5, generator=g).log_softmax(-1)
    text = "a small red 3 moving to the left and a blue 7 on a striped background, the blue digit"
    ids = read(text)
    found = grounding(log_p, voices).likely(ids)[0]
    prior, known = voices[0].exp(), voices[0].exp()  # what is left of places, and after the phrase
    p, count, usual = log_p[0].exp(), 0, voices[0].exp() @ log_p[0].exp()
    for k, token in enumerate(ids[0].tolist()):
        word = TOKENIZER.decode([token])
        if word in OPENING:
            if count:
                told = known / known.sum() @ p
                odds = (p * (told / usual).log()).sum(1)
                prior = prior / (1 + (WORDS * odds).exp())
            known, left, count = voices[0].exp(), prior / voices[0].exp(), 0
        elif k and token > TOKENIZER.end_id and word != "the":
            known, count = known * p[:, token], count + 1
        weights = known * (left if k > 0 else 1)
        torch.testing.assert_close(found[k], weights / weights.sum() @ p, rtol=1e-3, atol=1e-6)


def test_what_belongs_together_is_hinted_at_and_nothing_twice() -> None:
    clip = places("a small red digit 3 up", "a large blue digit 7 left", "on plain gray")
    model = grounding(clip, torch.zeros(1, 3))

    def chance(text: str, *words: str) -> float:
        row = model.likely(read(text))[0, 1 + len(text.split())]  # after its last word
        return sum(float(row[int(TOKENIZER.encode(word)[0])]) for word in words)

    assert chance("a red", "3", "small", "up") > 100 * chance("a red", "7", "large", "left")
    assert chance("a", "3") == pytest.approx(chance("a", "7"))
    told = "a small red digit 3 moving up and a"
    assert chance(told, "7") > 10 * chance(told, "3")
    assert chance(told + " large blue 7 on", "gray") > 0.3


def test_hints_know_nothing_of_later_words() -> None:
    g = generator(3)
    model = grounding(torch.randn(2, 4, V, generator=g), torch.randn(2, 4, generator=g))
    ids = read("a red 3 and a blue 7 on gray", "on gray, a red 3")
    whole = model(ids)
    for length in range(1, ids.shape[1]):
        torch.testing.assert_close(model(ids[:, :length]), whole[:, :length])
    index = torch.tensor([1, 1, 0])
    torch.testing.assert_close(model.select(index)(ids[index]), whole[index])


def test_a_silent_place_is_not_listened_to() -> None:
    clip = places("a red digit 3", "a red digit 7")
    loud = grounding(clip, torch.tensor([[0.0, -math.inf]])).likely(read("a red"))[0, 2]
    assert loud[int(TOKENIZER.encode("7")[0])] < 1e-3 < loud[int(TOKENIZER.encode("3")[0])]
