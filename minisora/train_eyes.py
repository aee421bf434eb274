"""How the captioner's eyes learn words from captions that never say where anything is.

Stands on `captioner`, `latents` and `train`; `train_captioner` runs it. The eyes guess the words of a caption, in no
order (Joulin et al. 2016, arXiv 1511.02251), phrase by phrase, each from one place of the clip. Nobody says which
place: that is learned with the words (multiple-instance learning; Fang et al. 2015, arXiv 1411.4952).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from minisora.captioner import Captioner
from minisora.config import Phase
from minisora.latents import MixedDataset
from minisora.patches import Packed
from minisora.precision import autocast
from minisora.train import Objective
from minisora.worlds.statements import phrases


def noisy_batch(
    captioner: Captioner,
    dataset: MixedDataset[Any],
    batch: int,
    noise: float,
    generator: torch.Generator,
) -> tuple[Packed, Tensor, list[str]]:
    """Clips of mixed sizes packed with their captions, the ids (Lt,) to write, and the captions in packed order."""
    views, texts = dataset.batch(batch, generator, dropped=0.0)
    noisy = [x + noise * torch.randn(x.shape, generator=generator) for x in views]
    packed, ids = captioner.pack_captions([x.to(captioner.device) for x in noisy], texts)
    return packed, ids, [texts[i] for i in packed.order]


def phrase_table(captioner: Captioner, texts: Sequence[str]) -> Tensor:
    """(n, J, V): how often each phrase of each text has each word; rows of zeros where a text has fewer than J."""
    split = [phrases(text) for text in texts]
    counts = torch.tensor([len(parts) for parts in split])
    ids = captioner.tokenizer.encode_batch([phrase for parts in split for phrase in parts])
    words = torch.zeros(len(ids), len(captioner.tokenizer))
    words.scatter_add_(1, ids, torch.ones(ids.shape))
    words[:, : captioner.tokenizer.end_id + 1] = 0.0
    most = int(counts.max())
    table = torch.zeros(len(texts), most, words.shape[1])
    table[torch.arange(most) < counts[:, None]] = words
    return table.to(captioner.device)


def word_weights(captioner: Captioner, texts: Sequence[str], power: float) -> Tensor:
    """(V,): what each word counts for the eyes, log(1 / share of phrases that have it)^power, on average 1.

    "a", "digit" and "on" are in most phrases and tell little; a digit's name is rare and tells much (inverse document
    frequency: Sparck Jones 1972). What that is worth, `benchmarks/eyes.py` measures.
    """
    table = phrase_table(captioner, texts).flatten(0, 1)  # (phrases, V), empty ones among them
    share = (table > 0).sum(dim=0) / (table.sum(dim=1) > 0).sum()
    weights = torch.where(share > 0, -share.clamp(min=1e-6).log(), 0.0).pow(power)
    return weights * table.sum() / (table * weights).sum()


def phrase_loss(captioner: Captioner, seen: Sequence[Tensor], table: Tensor) -> Tensor:
    """Cross-entropy of phrases in nats a word; each is said whole by one place of the clip, nobody knows which.

    p(phrase) is the sum over all places of p(place) times the product of p(word | place), words in no order: a
    mixture. So a place that is to speak of a digit must know its color and its name and how it moves: which belongs
    to which. And a place that knows less learns to be silent (attention pooling: Ilse et al. 2018, arXiv 1802.04712).

    Args:
        captioner: whose eyes saw.
        seen: features (n, t, h, w, C) of each group of clips, from `look`.
        table: phrases of their captions, from `phrase_table`, in the same order.
    """
    logs = []
    for features, told in zip(seen, table.split([len(x) for x in seen]), strict=True):
        log_p = captioner.eyes.say(features).flatten(1, 3)  # (n, places, V)
        whole = told @ log_p.mT + captioner.eyes.voices(features)[:, None]  # (n, J, places)
        logs.append(whole.logsumexp(dim=2))
    return -torch.cat(logs).sum() / table.sum()


def phrase_objective(
    captioner: Captioner,
    dataset: MixedDataset[Any],
    batch: int,
    noise: float = 0.0,
    weights: Tensor | float = 1.0,
) -> Objective:
    """`phrase_loss` on batches of mixed sizes; `weights` of words, others as in `caption_objective`."""

    def objective(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        packed, _, texts = noisy_batch(captioner, dataset, batch, noise, generator)
        with autocast(captioner.device):
            seen = captioner.look(packed)
        loss = phrase_loss(captioner, seen, phrase_table(captioner, texts) * weights)
        return loss, {"clips": float(batch)}

    return objective


def in_turn(phases: Sequence[Phase], objectives: Sequence[Objective]) -> Objective:
    """One objective after the other, each for the steps of its phase, the last without end."""
    ends = list(accumulate(phase.steps for phase in phases))[:-1]

    def objective(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        return objectives[bisect_right(ends, step)](step, generator)

    return objective
