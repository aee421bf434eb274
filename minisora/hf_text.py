"""Another reader for the prompt: a text encoder of the T5 family from Hugging Face, in place of our own.

Where it stands: `text`, `network` -> [hf_text]. Open-Sora, CogVideoX and Wan read prompts with T5; so can minisora:

    pip install 'minisora[hf]'
    net = TextToLatent(preset.text, preset.dit, VOCABULARY)
    use_hugging_face(net, "path/to/t5-small")      # a folder with config, weights and tokenizer
    trainer = Trainer(net, config)                 # trains the transformer and a projection; T5 stays as it is

Nothing is fetched: the folder must be there. T5's own weights are frozen and no part of `net.state_dict()`, so a
checkpoint stays small and is loaded by the same two lines.

Legend: n texts of one length, l tokens a text, Lt packed text tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minisora.layers import linear
from minisora.network import TextToLatent
from minisora.patches import Layout


class HuggingFaceTokenizer:
    """A Hugging Face tokenizer with the face of `text.Tokenizer`.

    Args:
        tokenizer: called with a string, returns `input_ids`; has a `pad_token_id`.
        multiple: texts are padded to a multiple of this, so that few lengths occur and clips group well.
        max_length: longest text in tokens, a multiple of `multiple`; what is longer loses its end.
    """

    def __init__(self, tokenizer: Any, multiple: int = 8, max_length: int = 64) -> None:
        self.tokenizer, self.multiple, self.max_length = tokenizer, multiple, max_length
        self.pad_id = int(tokenizer.pad_token_id)

    def encode(self, text: str, length: int | None = None) -> Tensor:
        """(l,) int64 ids, padded to `length` or to the next multiple; an empty text is its end token alone."""
        limit = self.max_length if length is None else length
        ids = list(self.tokenizer(text, truncation=True, max_length=limit)["input_ids"])
        if length is None:
            length = max(1, -(-len(ids) // self.multiple)) * self.multiple
        return torch.tensor(ids + [self.pad_id] * (length - len(ids)))

    def encode_batch(self, texts: Sequence[str], length: int | None = None) -> Tensor:
        """(n, l) int64 ids of one length: `length`, or that of the longest."""
        rows = [self.encode(text, length) for text in texts]
        return torch.stack([self.encode(text, max(map(len, rows))) for text in texts])

    def unknown_words(self, text: str) -> list[str]:
        """None: its pieces spell every word."""
        return []


class HuggingFaceText(nn.Module):
    """A frozen Hugging Face encoder and a trained projection, with the face of `text.TextEncoder`.

    Args:
        encoder: called with input_ids and attention_mask (n, l), returns `last_hidden_state` (n, l, d_model).
        d_model: its width.
        width: D that the transformer expects.
        pad_id: the id that fills texts up; padding is neither read by T5 nor zero for the transformer, where it
            is a spare token with one learned state, as registers are.
    """

    def __init__(self, encoder: nn.Module, d_model: int, width: int, pad_id: int) -> None:
        super().__init__()
        # In a list, so that its weights are neither trained nor saved with ours.
        self._frozen = [encoder.eval().requires_grad_(False)]
        self.pad_id = pad_id
        self.norm = nn.RMSNorm(d_model, eps=1e-6)  # widths of T5's states vary with its size
        self.project = linear(d_model, width)
        self.spare = nn.Parameter(torch.zeros(width))

    def forward(self, ids: Tensor) -> Tensor:
        """ids: (n, l) int64 -> (n, l, D) text states."""
        real = ids != self.pad_id  # (n, l)
        with torch.no_grad():
            mask = real.long()
            states = self._frozen[0](input_ids=ids, attention_mask=mask).last_hidden_state
        states = self.project(self.norm(states.detach().clone().to(self.norm.weight.dtype)))
        return torch.where(real[..., None], states, self.spare)

    def forward_packed(self, ids: Tensor, layout: Layout) -> Tensor:
        """ids: (Lt,) packed int64 -> (Lt, D) text states; no text sees another."""
        return layout.merge([self(group) for group in layout.split_text(ids)])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> HuggingFaceText:
        self._frozen[0]._apply(fn)  # it moves to the device that the rest moves to
        super()._apply(fn, recurse)
        return self


def use_hugging_face(net: TextToLatent, folder: str | Path, multiple: int = 8) -> TextToLatent:
    """Let `net` read prompts with the T5 encoder in a local folder; returns `net`.

    Args:
        net: text encoder and transformer; its tokenizer and text encoder are replaced.
        folder: what `save_pretrained` wrote for model and tokenizer.
        multiple: see `HuggingFaceTokenizer`.

    Raises:
        ImportError: transformers is not installed.
        ValueError: there is no such folder, or no T5 in it.
    """
    try:
        from transformers import AutoTokenizer, T5EncoderModel
    except ImportError as error:
        raise ImportError("This needs the extra: pip install 'minisora[hf]'.") from error
    if not (Path(folder) / "config.json").exists():
        raise ValueError(
            f"{folder} holds no Hugging Face model (no config.json); give a folder that `save_pretrained` wrote."
        )
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    encoder = T5EncoderModel.from_pretrained(str(folder), local_files_only=True)
    width, device = net.dit.config.text_width, next(net.parameters()).device
    wrapped = HuggingFaceTokenizer(tokenizer, multiple, net.tokenizer.max_length)
    text = HuggingFaceText(encoder, encoder.config.d_model, width, wrapped.pad_id)
    net.tokenizer = wrapped  # type: ignore[assignment]
    net.text = text.to(device)  # type: ignore[assignment]
    return net
