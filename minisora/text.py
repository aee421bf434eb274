"""Words to numbers to vectors: a tokenizer that takes any string, and a small text encoder.

Where it stands: `worlds -> video -> vae -> patches -> [text] -> dit -> flow -> sample`.

Known words are one token each; any other word is spelled in UTF-8 bytes, so no string can fail. A
text is filled up with *register* tokens to a multiple of 8: they carry no word and give the
transformer spare places to compute in (Darcet et al. 2024, arXiv 2309.16588), and they leave few
distinct lengths, so that clips group well. The empty prompt is registers alone: unconditional.

Legend: n texts of one length, l tokens a text, Lt packed text tokens, D width, H heads of size d.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from minisora.layers import Block, attend
from minisora.patches import Group, Layout
from minisora.rope import rotary_table, text_positions

_PIECE = re.compile(r"[^\W\d_]+|\d|[^\w\s]|_")  # a run of letters, one digit, one other sign
_BYTES = 256


def split_words(text: str) -> list[str]:
    """The pieces of a text that a vocabulary may hold: lower-case words, single digits, single signs."""
    return _PIECE.findall(text.lower())


@dataclass(frozen=True)
class TextConfig:
    """Size of the text encoder.

    Args:
        width: D of the text states.
        depth: transformer blocks.
        num_heads: attention heads; width / num_heads is even.
        multiple: texts are filled up with registers to a multiple of this many tokens.
        max_length: longest text in tokens; a multiple of `multiple`.
    """

    width: int = 128
    depth: int = 2
    num_heads: int = 4
    multiple: int = 8
    max_length: int = 64

    def __post_init__(self) -> None:
        if self.width % (2 * self.num_heads):
            raise ValueError(
                f"Text width {self.width} does not divide into {self.num_heads} heads of even "
                "size; choose a width that is a multiple of 2 * num_heads."
            )
        if self.multiple < 1 or self.max_length < 1 or self.max_length % self.multiple:
            raise ValueError(
                f"max_length {self.max_length} is not a multiple of multiple {self.multiple}; "
                "choose e.g. 64 and 8."
            )


class Tokenizer:
    """Strings to token ids. Any string is accepted.

    Ids: `max_length` registers, the end token, 256 bytes, then the words of the vocabulary.

    Args:
        vocabulary: the words known whole, lower case; store this list to rebuild the tokenizer.
        multiple: fill texts up to a multiple of this many tokens.
        max_length: longest text in tokens.

    Raises:
        ValueError: a word of the vocabulary is not one word (letters, one digit or one sign).
    """

    def __init__(
        self, vocabulary: Sequence[str], *, multiple: int = 8, max_length: int = 64
    ) -> None:
        for word in vocabulary:
            if _PIECE.findall(word.lower()) != [word]:
                raise ValueError(
                    f"Vocabulary entry {word!r} is not one word; give lower-case words of letters, "
                    "single digits or single signs."
                )
        self.vocabulary = tuple(dict.fromkeys(vocabulary))
        self.multiple = multiple
        self.max_length = max_length
        self.end_id = max_length
        self._first_byte = max_length + 1
        self._first_word = self._first_byte + _BYTES
        self._ids = {word: self._first_word + i for i, word in enumerate(self.vocabulary)}

    def __len__(self) -> int:
        """Number of distinct token ids."""
        return self._first_word + len(self.vocabulary)

    def encode(self, text: str, length: int | None = None) -> Tensor:
        """Turn a text into token ids.

        Args:
            text: any string. Empty (or blank): registers alone, the unconditional prompt.
            length: fill up to exactly this many tokens; by default to the next multiple.

        Returns:
            (l,) int64: words, end, registers.

        Warns:
            UserWarning: the text is longer than `length` or `max_length`; its end was dropped.
        """
        limit = self.max_length if length is None else length
        if not 1 <= limit <= self.max_length:
            raise ValueError(
                f"Text length {length} is not allowed; give 1 to {self.max_length} tokens."
            )
        ids = [i for piece in _PIECE.findall(text.lower()) for i in self._piece_ids(piece)]
        if len(ids) >= limit:
            warnings.warn(
                f"The text has {len(ids)} tokens, only the first {limit - 1} are used; "
                "shorten it (words the model does not know cost one token a letter).",
                stacklevel=2,
            )
            ids = ids[: limit - 1]
        ids = [*ids, self.end_id] if ids else []
        if length is None:
            length = max(1, -(-len(ids) // self.multiple)) * self.multiple
        return torch.tensor(ids + list(range(length - len(ids))))

    def encode_batch(self, texts: Sequence[str], length: int | None = None) -> Tensor:
        """Turn n texts into (n, l) int64 ids of one length: `length`, or that of the longest."""
        rows = [self.encode(text, length) for text in texts]
        longest = max(len(row) for row in rows)
        return torch.stack([torch.cat([row, self._more(row, longest)]) for row in rows])

    def decode(self, ids: Tensor | Sequence[int]) -> str:
        """Turn ids back into lower-case text, words separated by blanks; registers are left out."""
        out = bytearray()
        for i in map(int, ids):
            if i >= self._first_word:
                out += f" {self.vocabulary[i - self._first_word]} ".encode()
            elif i >= self._first_byte:
                out.append(i - self._first_byte)
        return " ".join(out.decode("utf-8", errors="replace").split())

    def unknown_words(self, text: str) -> list[str]:
        """The words and digits of a text that the model never saw, each once, in order."""
        pieces = dict.fromkeys(_PIECE.findall(text.lower()))
        return [piece for piece in pieces if piece.isalnum() and piece not in self._ids]

    def _piece_ids(self, piece: str) -> list[int]:
        if piece in self._ids:
            return [self._ids[piece]]
        # A lone surrogate has no UTF-8 form; "replace" spells it as a question mark.
        return [self._first_byte + byte for byte in piece.encode("utf-8", errors="replace")]

    def _more(self, row: Tensor, length: int) -> Tensor:
        """Registers that lengthen an encoded text, continuing its own."""
        used = int((row < self.end_id).sum())
        return torch.arange(used, used + length - len(row))


class TextEncoder(nn.Module):
    """A small bidirectional transformer, trained jointly with the DiT.

    Args:
        config: its size.
        tokenizer_size: `len(tokenizer)`.
    """

    def __init__(self, config: TextConfig, tokenizer_size: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(tokenizer_size, config.width)
        nn.init.trunc_normal_(self.embedding.weight, std=1.0)
        first = config.max_length + 1
        # Bytes never met in training stay zero: an unknown word is neutral instead of noise.
        nn.init.zeros_(self.embedding.weight[first : first + _BYTES])
        blocks = (Block(config.width, config.num_heads) for _ in range(config.depth))
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.RMSNorm(config.width, eps=1e-6)

    def forward(self, ids: Tensor) -> Tensor:
        """ids: (n, l) int64 -> (n, l, D) text states. Their mean over l is the pooled text."""
        layout = Layout((Group(len(ids), (1, 1, 1), ids.shape[1]),))
        return self.forward_packed(ids.flatten(), layout).unflatten(0, ids.shape)  # (n, l, D)

    def forward_packed(self, ids: Tensor, layout: Layout) -> Tensor:
        """ids: (Lt,) packed int64 -> (Lt, D) text states; no text sees another."""
        place = text_positions(layout, ids.device)
        rope = rotary_table(place, (self.config.width // self.config.num_heads,), theta=100.0)
        x = self.embedding(ids)
        attention = partial(attend, layout=layout, split=Layout.split_text)
        for block in self.blocks:
            x = block(x, rope, attention)  # registers are real tokens: nothing is masked
        return self.norm(x)
