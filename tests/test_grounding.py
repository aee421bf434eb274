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


def grounding(log_p: torch.Tensor, voices: torch.Tensor, plans: bool = False) -> Grounding:
    words, table = phrase_words(TOKENIZER), torch.randn(V, 8, generator=generator(9))
    return Grounding(log_p.log_softmax(-1), voices.log_softmax(-1), words, table, plans)


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
    color = {0: "red", 9: "blue", 16: "blue"}  # from these words on, "a", "a" and ","
    prior, known = voices[0].exp(), voices[0].exp()  # what is left of places, and after the phrase
    plan: str | None = None
    p, count, usual = log_p[0].exp(), 0, voices[0].exp() @ log_p[0].exp()
    for k, token in enumerate(ids[0].tolist()):
        word = TOKENIZER.decode([token])
        if word in OPENING:
            if count:
                told = known / known.sum() @ p
                odds = (p * (told / usual).log()).sum(1)
                prior = prior / (1 + (WORDS * odds).exp())
            known, left, count = voices[0].exp(), prior / voices[0].exp(), 0
            plan = color.get(k - 1)
        elif k and token > TOKENIZER.end_id and word != "the":
            known, count = known * p[:, token], count + 1
        plan = None if word == plan else plan
        ahead = p[:, int(TOKENIZER.encode(plan)[0])] if plan else 1
        weights = known * (left if k > 0 else 1) * ahead
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


@pytest.mark.parametrize("plans", [False, True])
def test_hints_know_nothing_of_later_words_but_a_reader_knows_the_color(plans: bool) -> None:
    g = generator(3)
    model = grounding(torch.randn(2, 4, V, generator=g), torch.randn(2, 4, generator=g), plans)
    ids = read("a red 3 and a blue 7 on gray", "on gray, a red 3")
    whole = model(ids)
    for last in range(ids.shape[1]):
        found = model(ids[:, : last + 1])[:, last]
        for row, ahead in enumerate(((1, 5), (4,))):  # "a", whose color comes next
            if plans or last not in ahead:
                torch.testing.assert_close(found[row], whole[row, last])
    index = torch.tensor([1, 1, 0])
    torch.testing.assert_close(model.select(index)(ids[index]), whole[index])


def test_a_writer_settles_what_a_phrase_is_about_before_its_first_word() -> None:
    clip = places("a small red 3", "a large blue 7", "on gray")
    voices = torch.tensor([[0.5, 0.3, 0.2]]).log()
    reader, writer = grounding(clip, voices), grounding(clip, voices, plans=True)

    def small(model: Grounding, text: str, words: int) -> float:
        """The chance of "small" against "large" after so many words of a text."""
        row = model.likely(read(text))[0, words]
        chances = [float(row[int(TOKENIZER.encode(word)[0])]) for word in ("small", "large")]
        return chances[0] / sum(chances)

    assert small(reader, "a", 1) == pytest.approx(5 / 8, abs=0.01)  # by the voices alone
    assert small(writer, "a", 1) > 0.99  # red is the loudest
    assert small(writer, "a small red 3 and a", 6) < 0.01  # and has been told
    assert small(reader, "a small blue 7", 1) < 0.01  # as the text goes on to say
    row = writer.likely(read("on a"))[0, 2]
    heard = reader.likely(read("on a"))[0, 2]
    torch.testing.assert_close(row, heard)  # a background is not one of the things


def test_a_silent_place_is_not_listened_to() -> None:
    clip = places("a red digit 3", "a red digit 7")
    loud = grounding(clip, torch.tensor([[0.0, -math.inf]])).likely(read("a red"))[0, 2]
    assert loud[int(TOKENIZER.encode("7")[0])] < 1e-3 < loud[int(TOKENIZER.encode("3")[0])]
