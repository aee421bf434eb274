"""What the next word of a caption may be, by what the eyes say where the phrase so far fits.

Where it stands: `text` -> [grounding] -> `caption`. The eyes learn a caption as a mixture: each phrase is said whole by
one place of the clip, nobody knows which (`train_captioner.phrase_loss`). Read word by word, such a mixture says what
comes next. By Bayes' rule, after the words w_1 .. w_k of a phrase,

    p(place | w_1 .. w_k) ~ p(place) p(w_1 | place) .. p(w_k | place),
    p(next word) = sum over places of p(place | w_1 .. w_k) p(next word | place).

After "a red" only the places that say "red" still have a voice, and what they say of name, size and motion belongs to
the red digit. So this is attention (Bahdanau et al. 2015, arXiv 1409.0473) that nobody has to learn. A place that has
been spoken of is not spoken of again: coverage (See et al. 2017, arXiv 1704.04368).

"A small" does not tell yet of which digit it speaks, and if both have a voice the writer mixes their sizes. So what a
phrase is about is settled before its first word, by color, which is what tells digits apart: a plan (Puduppully et al.
2019, arXiv 1809.00582). Where a text is at hand, in training, its own colors are the plan; a writer plans to speak of
the color that is said most loudly and has not been told.

Legend: n texts, l tokens each, P places of a clip, V token ids, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minisora.text import Tokenizer
from minisora.worlds import COLORS
from minisora.worlds.statements import OPENING

WORDS = 10.0  # of a phrase: how surely it tells one thing from another
TINY = 1e-9


class PhraseWords(NamedTuple):
    """Which words do what in a phrase, bool (V,) each.

    Attributes:
        opens: they begin one.
        counts: they tell places apart.
        names: colors, which tell things apart.
        things: "a" and "an": what follows is about a thing, unless it stands "on" or "over" it.
        grounds: "on" and "over".
    """

    opens: Tensor
    counts: Tensor
    names: Tensor
    things: Tensor
    grounds: Tensor


def phrase_words(tokenizer: Tokenizer, device: torch.device | None = None) -> PhraseWords:
    """What the words of captions do."""

    def marked(words: Sequence[str]) -> Tensor:
        first, second = tokenizer.encode_batch(words, length=8)[:, :2].T
        marks = torch.zeros(len(tokenizer), dtype=torch.bool)
        marks[first[second == tokenizer.end_id]] = True  # a word it does not know is spelled
        return marks.to(device)

    real = (torch.arange(len(tokenizer)) > tokenizer.end_id).to(device)
    silent = marked((*OPENING, "the"))  # "the red one" opens a phrase, but "to the left" ends one
    opens, names = marked(OPENING), marked(tuple(COLORS))
    return PhraseWords(opens, real & ~silent, names, marked(("a", "an")), marked(("on", "over")))


@dataclass(frozen=True)
class Grounding:
    """What the places of clips say, for texts that speak of them.

    Args:
        log_p: (n, P, V), log p(word | place).
        voices: (n, P), log p(place).
        words: what words do.
        table: (V, D), what a hint at each word adds to an embedding.
        plans: whether it is a writer's, who plans what to name; else a phrase is about what it names later, if it does.
    """

    log_p: Tensor
    voices: Tensor
    words: PhraseWords
    table: Tensor
    plans: bool = False

    def likely(self, ids: Tensor) -> Tensor:
        """(n, l) tokens read -> (n, l, V): after each of them, the distribution of the next word of its phrase."""
        opens, counts = self.words.opens[ids], self.words.counts[ids].float()[..., None]  # (n, l)
        first = torch.where(opens, torch.arange(ids.shape[1], device=ids.device), 0)
        first = first.cummax(dim=1).values[..., None]  # (n, l, 1), where the phrase began
        fit, length = since(first, self._said(ids) * counts), since(first, counts)  # (n, l, P), ..
        p, known = self.log_p.exp(), fit + self.voices[:, None]
        ends = F.pad(opens[:, 1:], (0, 1))[..., None] & (length > 0)
        left = self._untold(known.softmax(dim=2) @ p, p) * ends
        left = left.cumsum(dim=1) - left
        about = self._about(ids, first, left)
        named = since(first, self.words.names[ids].float()[..., None]) > 0
        plan = self._said(about) * ((about > 0)[..., None] & ~named)
        return (known + left + plan).softmax(dim=2) @ p

    def _said(self, ids: Tensor) -> Tensor:
        """(n, l) -> (n, l, P), log p(word | place) of these words."""
        return self.log_p.mT.gather(1, ids[..., None].expand(-1, -1, self.log_p.shape[1]))

    def _about(self, ids: Tensor, first: Tensor, left: Tensor) -> Tensor:
        """(n, l): the name of what each token's phrase is about, 0 if it has none; `left` (n, l, P), as in `likely`."""
        words, first = self.words, first[..., 0]
        if not self.plans:
            said = torch.where(words.names[ids], ids, 0)
            return torch.zeros_like(said).scatter_reduce(1, first, said, "amax").gather(1, first)
        heard = (left + self.voices[:, None]).softmax(dim=2) @ self.log_p.exp()  # (n, l, V)
        loudest = heard.masked_fill(~words.names, 0.0).argmax(dim=2)
        before = F.pad(ids[:, :-1], (1, 0))
        thing = (words.things[ids] & ~words.grounds[before]).gather(1, first)
        return torch.where(thing, loudest, 0)

    def __call__(self, ids: Tensor) -> Tensor:
        """(n, l) tokens read -> (n, l, D), to be added to their embeddings."""
        with torch.no_grad():  # what to say the eyes have learned before
            p = self.likely(ids)
        return p @ self.table

    def select(self, index: Tensor) -> Grounding:
        """For these texts, each as often as it is named; index: (m,)."""
        log_p, voices = (x.index_select(0, index) for x in (self.log_p, self.voices))
        return replace(self, log_p=log_p, voices=voices)

    def _untold(self, told: Tensor, p: Tensor) -> Tensor:
        """Log-chance (n, l, P) that a place speaks of something else than a phrase that says `told` (n, l, V)."""
        usual = self.voices.exp()[:, None] @ p  # (n, 1, V)
        odds = (told.clamp(min=TINY).log() - usual.clamp(min=TINY).log()) @ p.mT  # by the word
        return F.logsigmoid(-WORDS * odds)


def since(first: Tensor, x: Tensor) -> Tensor:
    """(n, l, C): sums of `x` over the tokens after number `first` (n, l, 1) of their text, up to each."""
    total = x.cumsum(dim=1)
    return total - total.gather(1, first.expand(-1, -1, x.shape[2]))
