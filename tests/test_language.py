"""The language model against a naive one; decoding against brute force."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from tiny import generator, randomize
from torch import Tensor

from minisora.decoding import Decoding, write
from minisora.language import (
    BEGIN,
    LanguageConfig,
    PrefixLM,
    Session,
    next_token_loss,
    prefix_attention,
    shift_right,
)
from minisora.patches import Group, Layout

CONFIG = LanguageConfig(width=32, depth=2, num_heads=2, max_length=16)
V = 30


def model(seed: int = 0) -> PrefixLM:
    lm = PrefixLM(CONFIG, V)
    randomize(lm, seed)
    return lm.eval().requires_grad_(False)


def test_attention_equals_a_loop_over_tokens() -> None:
    g = generator()
    layout = Layout((Group(2, (2, 1, 2), 3), Group(1, (1, 2, 1), 2)))
    q, k, v = (torch.randn(layout.num_tokens, 2, 4, generator=g) for _ in range(3))
    ours = prefix_attention(q, k, v, layout)
    first = 0
    for group in layout.groups:
        for _ in range(group.count):
            for i in range(group.clip_len):
                text = i < group.text_len
                seen = [
                    j for j in range(group.clip_len) if j >= group.text_len or (text and j <= i)
                ]
                keys = torch.tensor([first + j for j in seen])
                for head in range(2):
                    weights = (k[keys, head] @ q[first + i, head] / 4**0.5).softmax(0)
                    wanted = weights @ v[keys, head]
                    torch.testing.assert_close(ours[first + i, 4 * head : 4 * head + 4], wanted)
            first += group.clip_len


def test_text_sees_the_prefix_and_the_past_only() -> None:
    lm, g = model(), generator(1)
    layout = Layout((Group(1, (2, 2, 1), 6),))
    prefix, ids = torch.randn(4, 32, generator=g), torch.randint(V, (6,), generator=g)
    before = lm(prefix, ids, layout)
    later = ids.clone()
    later[3] = (later[3] + 1) % V
    after = lm(prefix, later, layout)
    torch.testing.assert_close(before[:3], after[:3])
    assert not torch.allclose(before[3:], after[3:])
    moved = prefix.clone()
    moved[3] += 1
    assert ((lm(moved, ids, layout) - before).abs().amax(dim=1) > 1e-4).all()


def test_places_in_the_prefix_matter() -> None:
    lm, g = model(), generator(2)
    prefix, ids = torch.randn(4, 32, generator=g), torch.tensor([BEGIN])
    shapes = [
        lm(prefix, ids, Layout((Group(1, grid, 1),))) for grid in ((4, 1, 1), (1, 4, 1), (1, 1, 4))
    ]
    assert all(not torch.allclose(a, b, atol=1e-4) for a, b in itertools.combinations(shapes, 2))


def test_writing_token_by_token_equals_reading_at_once() -> None:
    lm, g = model(), generator(3)
    prefix, ids = torch.randn(3, 4, 32, generator=g), torch.randint(V, (3, 5), generator=g)
    layout = Layout((Group(3, (1, 2, 2), 6),))
    inputs = torch.cat([torch.full((3, 1), BEGIN), ids], dim=1)
    wanted = lm(prefix.flatten(0, 1), inputs.flatten(), layout).view(3, 6, V)
    session = Session(lm, prefix, (1, 2, 2))
    for i in range(5):
        torch.testing.assert_close(session.logits, wanted[:, i], rtol=1e-4, atol=1e-4)
        session.step(ids[:, i])
    torch.testing.assert_close(session.logits, wanted[:, 5], rtol=1e-4, atol=1e-4)
    session.reorder(torch.tensor([2, 2, 0, 1]))
    torch.testing.assert_close(session.logits, wanted[[2, 2, 0, 1], 5], rtol=1e-4, atol=1e-4)


def test_the_loss_counts_words_and_ends_only() -> None:
    end, g = 8, generator(4)
    ids = torch.tensor([[20, 9, end, 0, 1], [25, end, 0, 1, 2]])
    assert shift_right(ids).tolist() == [[0, 20, 9, end, 0], [0, 25, end, 0, 1]]
    logits = torch.randn(10, V, generator=g)
    loss, right = next_token_loss(logits, ids.flatten(), end)
    counted = [0, 1, 2, 5, 6]
    rows = [-logits[i].log_softmax(0)[ids.flatten()[i]] for i in counted]
    torch.testing.assert_close(loss, torch.stack(rows).mean())
    assert right == sum(logits[i].argmax() == ids.flatten()[i] for i in counted) / 5


def test_a_width_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        LanguageConfig(width=40, num_heads=2)


# ---- decoding ----

END = 1  # of the tables below; id 0 is a register


class Table:
    """A session whose next token depends on the last one: (V, V) logits."""

    def __init__(self, logits: Tensor, count: int = 1) -> None:
        self.table = logits
        self.logits = logits[0].expand(count, -1).clone()

    def step(self, ids: Tensor) -> None:
        self.logits = self.table[ids]

    def reorder(self, index: Tensor) -> None:
        self.logits = self.logits[index]


def log_probability(table: Tensor, text: Sequence[int]) -> float:
    """Of a whole text and its end, registers barred."""
    barred = table.clone()
    barred[:, 0] = -math.inf
    logp = barred.log_softmax(1)
    return sum(float(logp[a, b]) for a, b in zip((0, *text), (*text, END), strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_finds_the_best_text(seed: int) -> None:
    table = 2 * torch.randn(5, 5, generator=generator(seed))
    session = Table(table)
    (found,) = write(session, Decoding("beam", beams=60), END, max_length=3)  # type: ignore[arg-type]
    every = [t for n in range(3) for t in itertools.product((2, 3, 4), repeat=n)]
    best = max(every, key=lambda t: log_probability(table, t) / (len(t) + 1))
    assert found == list(best)


def test_greedy_and_a_beam_of_one_follow_the_likeliest_token() -> None:
    table = 2 * torch.randn(5, 5, generator=generator(9))
    table[:, END] -= 1.0
    wanted, last = [], 0
    for _ in range(6):
        last = int(table[last, 1:].argmax()) + 1
        if last == END:
            break
        wanted.append(last)
    (greedy,) = write(Table(table), Decoding("greedy"), END, max_length=6)  # type: ignore[arg-type]
    assert greedy == wanted


def test_nucleus_draws_from_the_likeliest_in_their_shares() -> None:
    logits = torch.full((5, 5), -30.0)
    logits[0] = torch.tensor([9.0, -30.0, 0.5, 0.3, 0.2]).clamp(min=1e-9).log()
    logits[2:, END] = 30.0
    count = 4000
    how = Decoding("nucleus", top_p=0.6)
    texts = write(Table(logits, count), how, END, 4, generator())  # type: ignore[arg-type]
    drawn = [text[0] for text in texts]
    assert set(drawn) == {2, 3}
    assert drawn.count(2) / count == pytest.approx(0.5 / 0.8, abs=0.03)
    with pytest.raises(ValueError, match=r"pass a torch\.Generator"):
        write(Table(logits), how, END, 4)  # type: ignore[arg-type]


class Alternating:
    """2 and 3 in turn, four tokens in all."""

    def start(self) -> int:
        return 0

    def allowed(self, state: int) -> list[int]:
        return [END] if state == 4 else [2 + state % 2]

    def advance(self, state: int, token: int) -> int:
        return state + 1


@pytest.mark.parametrize("method", ["greedy", "beam", "nucleus"])
def test_a_rule_is_never_broken(method: str) -> None:
    table, g = torch.randn(5, 5, generator=generator(1)), generator()
    how, rules = Decoding(method, beams=3), [Alternating(), Alternating()]  # type: ignore[arg-type]
    texts = write(Table(table, 2), how, END, 8, g, rules)  # type: ignore[arg-type]
    assert texts == [[2, 3, 2, 3]] * 2


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"method": "best"}, "choose one of"),
        ({"beams": 0}, "at least 1"),
        ({"top_p": 0.0}, "top_p"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Decoding(**settings)  # type: ignore[arg-type]
