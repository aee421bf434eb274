"""The tokenizer takes any string; the encoder treats every text on its own."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minisora.patches import Group, Layout
from minisora.text import TextConfig, TextEncoder, Tokenizer
from minisora.worlds import VOCABULARY

TOKENIZER = Tokenizer(VOCABULARY)


def encoder(**overrides: int) -> TextEncoder:
    """A small encoder whose projections are all at work."""
    torch.manual_seed(0)
    text = TextEncoder(TextConfig(width=32, depth=2, num_heads=2, **overrides), len(TOKENIZER))
    with torch.no_grad():
        for p in text.blocks.parameters():
            p += 0.1 * torch.randn_like(p)
    return text


@settings(deadline=None)  # a busy machine is no failure
@given(st.text(max_size=100))
def test_any_string_is_encoded(text) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are too long
        ids = TOKENIZER.encode(text)
    assert ids.dtype == torch.int64
    assert len(ids) % 8 == 0
    assert 8 <= len(ids) <= 64
    assert 0 <= int(ids.min()) <= int(ids.max()) < len(TOKENIZER)
    TOKENIZER.decode(ids)
    TOKENIZER.unknown_words(text)


def test_a_lone_surrogate_is_encoded() -> None:
    assert len(TOKENIZER.encode("\ud800 red")) == 8


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.sampled_from(VOCABULARY), max_size=30))
def test_known_words_are_one_token_each_and_come_back(words) -> None:
    text = " ".join(words)
    ids = TOKENIZER.encode(text.upper())
    assert TOKENIZER.decode(ids) == text
    assert int((ids > TOKENIZER.end_id).sum()) == len(words)
    assert TOKENIZER.unknown_words(text) == []


@settings(deadline=None)  # a busy machine is no failure
@given(st.text(st.characters(categories=("Ll", "Lo")), min_size=1, max_size=10))
def test_an_unknown_word_comes_back_and_is_reported(word) -> None:
    word = word.lower()
    assert TOKENIZER.decode(TOKENIZER.encode(word)) == word
    known = all(piece in VOCABULARY for piece in [word])
    assert TOKENIZER.unknown_words(word) == ([] if known else [word])


def test_unknown_words_are_named_once_in_order() -> None:
    text = "A red zebra, drifting; a Zebra and 3 gnus!"
    assert TOKENIZER.unknown_words(text) == ["zebra", "gnus"]


def test_punctuation_is_its_own_token() -> None:
    comma = TOKENIZER.encode("a, b")
    assert comma[:3].tolist() == [
        *TOKENIZER.encode("a")[:1],
        *TOKENIZER.encode(",")[:1],
        *TOKENIZER.encode("b")[:1],
    ]


def test_texts_are_filled_with_registers() -> None:
    assert TOKENIZER.encode("").tolist() == list(range(8))  # unconditional: registers alone
    assert torch.equal(TOKENIZER.encode(" \n\t"), TOKENIZER.encode(""))
    ids = TOKENIZER.encode("a red 3")
    assert ids[3] == TOKENIZER.end_id
    assert ids[4:].tolist() == [0, 1, 2, 3]
    assert len(TOKENIZER.encode("red " * 7)) == 8  # with the end token just full
    assert len(TOKENIZER.encode("red " * 8)) == 16
    assert TOKENIZER.encode("a red 3", length=13)[4:].tolist() == list(range(9))
    assert len(Tokenizer(VOCABULARY, multiple=4).encode("red")) == 4


def test_a_batch_has_one_length() -> None:
    texts = ["", "a red 3", "a red 3 drifting up and to the right on black"]
    batch = TOKENIZER.encode_batch(texts)
    assert batch.shape == (3, 16)
    for row, text in zip(batch, texts, strict=True):
        assert torch.equal(row, TOKENIZER.encode(text, length=16))
    assert TOKENIZER.encode_batch(texts, length=24).shape == (3, 24)


def test_a_long_text_is_cut_and_the_user_told() -> None:
    with pytest.warns(UserWarning, match="100 tokens, only the first 63 are used"):
        ids = TOKENIZER.encode("red " * 100)
    assert len(ids) == 64
    assert ids[-1] == TOKENIZER.end_id
    with pytest.warns(UserWarning, match="only the first 7"):
        assert len(TOKENIZER.encode("red " * 9, length=8)) == 8
    with pytest.raises(ValueError, match="give 1 to 64 tokens"):
        TOKENIZER.encode("red", length=65)


def test_the_vocabulary_rebuilds_the_tokenizer() -> None:
    text = "a red zebra on gray stripes"
    again = Tokenizer(list(TOKENIZER.vocabulary))
    assert torch.equal(again.encode(text), TOKENIZER.encode(text))
    assert len(again) == len(TOKENIZER)
    for word in ("Red", "two words", "42", ""):
        with pytest.raises(ValueError, match="is not one word"):
            Tokenizer(["red", word])


def test_config_is_checked() -> None:
    with pytest.raises(ValueError, match="does not divide into 3 heads"):
        TextConfig(width=128, num_heads=3)
    with pytest.raises(ValueError, match="not a multiple"):
        TextConfig(max_length=60)


def test_texts_do_not_see_each_other() -> None:
    text, ids = encoder(), TOKENIZER.encode_batch(["a red 3", "a blue 7 on navy", ""])
    states = text(ids)
    assert states.shape == (3, 8, 32)
    for row, expected in zip(ids, states, strict=True):
        torch.testing.assert_close(text(row[None])[0], expected, atol=1e-5, rtol=1e-5)
    layout = Layout((Group(2, (1, 1, 1), 8), Group(1, (1, 2, 1), 16)))
    long = TOKENIZER.encode("a large yellow 5 gliding up and to the right")
    packed = text.forward_packed(torch.cat([ids[:2].flatten(), long]), layout)
    torch.testing.assert_close(packed[:16], states[:2].flatten(0, 1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(packed[16:], text(long[None])[0], atol=1e-5, rtol=1e-5)


def test_word_order_counts_and_registers_differ() -> None:
    text = encoder()
    one, other = text(TOKENIZER.encode_batch(["a red 3 and a blue 7", "a blue 3 and a red 7"]))
    assert (one.mean(0) - other.mean(0)).abs().max() > 1e-3
    empty = text(TOKENIZER.encode("")[None])[0]
    assert torch.pdist(empty).min() > 1e-2  # equal ids would give eight equal states


def test_an_unknown_word_starts_neutral() -> None:
    text = TextEncoder(TextConfig(width=32, num_heads=2), len(TOKENIZER))
    spelled = TOKENIZER.encode("zzz")[:3]
    assert not text.embedding(spelled).any()
    assert text.embedding(TOKENIZER.encode("red")).abs().sum(1).min() > 0
