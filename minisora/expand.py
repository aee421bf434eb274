"""Short prompts made long: a language model writes the detailed caption that a vague prompt could have meant.

Where it stands: `language`, `decoding` -> [expand] -> `model`. Sora's report and DALL-E 3 use GPT-4 for this step
(Betker et al. 2023, appendix C); here it is a small prefix language model, trained on pairs of prompt and caption
that the world writes. What the prompt states is read (`worlds.statements`) and only captions that agree with it can
be written (`worlds.grammar`); what it leaves open the model draws as the world would.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minisora.checkpoint import fill, load_weights, save_weights
from minisora.decoding import Decoding, write
from minisora.language import LanguageConfig, PrefixLM, Session
from minisora.patches import Group, Layout
from minisora.paths import DataError, data_file
from minisora.text import Tokenizer
from minisora.worlds.grammar import END, Language, detailed_captions, next_words
from minisora.worlds.statements import Statement, UnclearError, parse

FILE = "expander.safetensors"
REMEMBERED = 20_000  # beginnings of texts
DRAW = Decoding("nucleus", temperature=1.0, top_p=0.98)  # the world's own variety, less its rarest


@dataclass(frozen=True)
class ExpanderConfig:
    """Size and words of a prompt expander.

    Attributes:
        vocabulary: the words of captions.
        language: of the model.
        multiple: prompts are filled up with registers to a multiple of this many tokens.
    """

    vocabulary: tuple[str, ...]
    language: LanguageConfig = LanguageConfig(width=96, depth=3, num_heads=3)
    multiple: int = 8

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ExpanderConfig:
        """Rebuild from JSON."""
        language = LanguageConfig(**data["language"])
        return cls(tuple(data["vocabulary"]), language, data["multiple"])


class Expander(nn.Module):
    """Prompt in, detailed caption out."""

    def __init__(self, config: ExpanderConfig) -> None:
        super().__init__()
        self.config = config
        length = config.language.max_length
        self.tokenizer = Tokenizer(config.vocabulary, multiple=config.multiple, max_length=length)
        self.lm = PrefixLM(config.language, len(self.tokenizer))

    def forward(self, prompt_ids: Tensor, text_ids: Tensor) -> Tensor:
        """Logits (n * l, V) of the token after each of text_ids (n, l); prompt_ids: (n, m)."""
        n, m = prompt_ids.shape
        layout = Layout((Group(n, (m, 1, 1), text_ids.shape[1]),))
        return self.lm(self.lm.embedding(prompt_ids.flatten()), text_ids.flatten(), layout)

    def read(self, prompts: Sequence[str]) -> Tensor:
        """Token ids (n, m) of prompts; words that captions do not have are left out, as they were never learned."""
        known = set(self.config.vocabulary)
        kept = [" ".join(w for w in _words(prompt) if w in known) for prompt in prompts]
        return self.tokenizer.encode_batch(kept)

    def expand(
        self,
        prompts: Sequence[str],
        *,
        frames: int = 17,
        generators: Sequence[torch.Generator],
        decoding: Decoding = DRAW,
        constrained: bool = True,
    ) -> list[str]:
        """Write a detailed caption for each prompt.

        Args:
            prompts: any strings. One that is not understood is returned as it is, with a warning.
            frames: of the clip that is to be made; for an image (1) nothing is said of motion.
            generators: one for each prompt, so that each can be expanded again alone.
            decoding: how words are drawn.
            constrained: False lets the model write what it likes, to measure what the constraint is worth.

        Warns:
            UserWarning: a prompt states what this world does not have.
        """
        return [
            self._expand(prompt, frames, generator, decoding, constrained)
            for prompt, generator in zip(prompts, generators, strict=True)
        ]

    def _expand(
        self, prompt: str, frames: int, generator: torch.Generator, how: Decoding, constrained: bool
    ) -> str:
        try:
            language = detailed_captions(parse(prompt), frames)
        except UnclearError as error:
            warnings.warn(f"The prompt is not expanded: {error}", stacklevel=4)
            return prompt
        ids = self.read([prompt]).to(self.lm.head.weight.device)
        with torch.inference_mode():
            prefix = self.lm.embedding(ids)  # (1, m, D)
            session = Session(self.lm, prefix, (ids.shape[1], 1, 1))
        rules = [CaptionRule(language, self.tokenizer)] if constrained else None
        limit = self.config.language.max_length
        (text,) = write(session, how, self.tokenizer.end_id, limit, generator, rules)
        return plain(self.tokenizer.decode(text))

    def save(self, path: Path, **facts: Any) -> None:
        """Write weights as fp16 with the config inside."""
        config = asdict(self.config) | {"facts": facts}
        save_weights(path, self.state_dict(), config, dtype=torch.float16)


class CaptionRule:
    """A language of words (`worlds.grammar`) as a rule for tokens (`decoding.Rule`); its states are tokens so far."""

    def __init__(self, language: Language, tokenizer: Tokenizer) -> None:
        self.language, self.tokenizer = language, tokenizer
        self.known: dict[tuple[int, ...], dict[int, Language]] = {}  # texts begin alike

    def start(self) -> tuple[int, ...]:
        """Nothing is written."""
        return ()

    def allowed(self, state: tuple[int, ...]) -> list[int]:
        """Ids that may come next."""
        return list(self._after(state))

    def advance(self, state: tuple[int, ...], token: int) -> tuple[int, ...]:
        """One token more."""
        return (*state, token)

    def _after(self, state: tuple[int, ...]) -> dict[int, Language]:
        """Each token that may come next, to what may come after it."""
        if len(self.known) > REMEMBERED:
            self.known.clear()
        if state not in self.known:
            rest = self._after(state[:-1])[state[-1]] if state else self.language
            end = self.tokenizer.end_id
            self.known[state] = {
                end if word == END else int(self.tokenizer.encode(word)[0]): later
                for word, later in next_words(rest).items()
            }
        return self.known[state]


@lru_cache(maxsize=4)
def caption_form(tokenizer: Tokenizer, moving: bool) -> CaptionRule:
    """The rule that a text is a detailed caption, of a clip or of an image."""
    return CaptionRule(detailed_captions(Statement(), frames=17 if moving else 1), tokenizer)


def plain(text: str) -> str:
    """The tokenizer's words as the world writes them: no blank before a comma."""
    return text.replace(" ,", ",")


def _words(prompt: str) -> list[str]:
    return prompt.lower().replace(",", " ").replace("-", " ").split()


def load_expander(folder: Path | None = None, device: str | torch.device = "cpu") -> Expander:
    """The expander in a checkpoint's folder, else the shipped one: it knows the world, and no network.

    Raises:
        DataError: there is none in either place; `minisora train-expander` makes one.
        CheckpointError: its file is damaged.
    """
    path = folder / FILE if folder is not None else None
    if path is None or not path.exists():
        try:
            path = data_file(f"checkpoints/moving-mnist/{FILE}")
        except DataError as error:
            raise DataError(
                f"There is no prompt expander ({FILE}) in {folder or 'the shipped checkpoint'}; make one with "
                "`minisora train-expander` and copy it there."
            ) from error
    tensors, config = load_weights(path)
    expander = Expander(ExpanderConfig.from_dict(config))
    fill(expander, tensors, path)
    return expander.to(device).eval().requires_grad_(False)
