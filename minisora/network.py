"""What is trained on latents: text encoder and diffusion transformer as one module, and the model's config.

Stands on `text` and `dit`; `objectives` trains it, `model` samples from it.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from minisora.config import VAEConfig
from minisora.dit import Block, DiT, DiTConfig
from minisora.flow import FlowConfig
from minisora.patches import Layout, pack, unpack
from minisora.rope import RopeScaling
from minisora.text import TextConfig, TextEncoder, Tokenizer

C = TypeVar("C")


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes a model's weights' shapes and how it samples."""

    vae: VAEConfig
    text: TextConfig
    dit: DiTConfig
    flow: FlowConfig
    vocabulary: tuple[str, ...]
    fps: float = 8.0

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ModelConfig:
        """Rebuild from JSON, where tuples have become lists."""
        return cls(
            vae=from_json(VAEConfig, data["vae"]),
            text=from_json(TextConfig, data["text"]),
            dit=from_json(DiTConfig, data["dit"]),
            flow=from_json(FlowConfig, data["flow"]),
            vocabulary=tuple(data["vocabulary"]),
            fps=data["fps"],
        )


def from_json(kind: Callable[..., C], data: dict[str, Any]) -> C:
    """A config dataclass from JSON fields: lists become tuples again, so that it stays hashable."""
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})


class TextToLatent(nn.Module):
    """Tokenizer, text encoder and diffusion transformer: what is trained on cached latents."""

    def __init__(self, text: TextConfig, dit: DiTConfig, vocabulary: Sequence[str]) -> None:
        super().__init__()
        self.tokenizer = Tokenizer(vocabulary, multiple=text.multiple, max_length=text.max_length)
        self.text = TextEncoder(text, len(self.tokenizer))
        self.dit = DiT(dit)

    def tokenize(self, texts: Sequence[str]) -> list[Tensor]:
        """Token ids of each text, each (l,) with l a multiple of `TextConfig.multiple`."""
        return [self.tokenizer.encode(text) for text in texts]

    def warn_of_unknown_words(self, prompts: Sequence[str]) -> None:
        """Tell the caller's caller which words of the prompts training never showed."""
        for prompt in prompts:
            if unknown := self.tokenizer.unknown_words(prompt):
                warnings.warn(
                    f"The model never saw {', '.join(map(repr, unknown))}; such words are spelled out and will "
                    f"hardly steer it. `minisora info` lists the words it knows.",
                    stacklevel=4,
                )

    def forward(
        self,
        tokens: Tensor,
        levels: Tensor,
        text_ids: Tensor,
        layout: Layout,
        scaling: RopeScaling | None = None,
        blind: bool = False,
    ) -> Tensor:
        """Clean patches (Lv, P) from noisy ones (Lv, P), levels (F,) and text ids (Lt,), packed as `layout` says.

        `scaling` is for grids larger than any trained on, see `rope.RopeScaling`; `blind` is for guidance,
        see `dit.DiT`.
        """
        text = self.text.forward_packed(text_ids, layout)
        return self.dit(tokens, levels, text, layout, scaling, blind)

    def guess(
        self,
        z: Tensor,
        levels: Tensor,
        texts: Sequence[Tensor],
        scaling: RopeScaling | None = None,
        blind: bool = False,
    ) -> Tensor:
        """Clean latents (B, Z, t, h, w) from noisy ones, levels (B, t) and one text a clip, as ids; see `forward`."""
        packed = pack(list(z), list(texts), self.dit.config.patch)
        frames = packed.frames(list(levels))
        out = self(packed.tokens, frames, packed.text_ids, packed.layout, scaling, blind)
        return torch.stack(unpack(out.float(), packed))


def deepen(net: TextToLatent, blocks: int) -> TextToLatent:
    """A network of more blocks that computes the same, to go on training with (LLaMA Pro, arXiv 2401.02415).

    Each new block stands after one of the middle and is its copy, but for the last projections of attention and
    MLP: they are zero, so that it begins as the identity, as every block once did.

    Args:
        net: a trained network; it is left as it is.
        blocks: how many to add, fewer than it has.

    Raises:
        ValueError: if it has no more blocks than that.
    """
    old, config = net.dit.blocks, net.dit.config
    if not 0 <= blocks < len(old):
        raise ValueError(f"Cannot add {blocks} blocks to {len(old)}; add fewer than there are.")
    grown = copy.deepcopy(net)
    first = (len(old) - blocks) // 2
    grown.dit.blocks = nn.ModuleList()
    for place, block in enumerate(old):
        grown.dit.blocks.append(copy.deepcopy(block))
        if first <= place < first + blocks:
            added = copy.deepcopy(block)
            assert isinstance(added, Block)
            for last in (added.out, added.mlp.down):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
            grown.dit.blocks.append(added)
    grown.dit.config = replace(config, depth=config.depth + blocks)
    return grown
