"""The captioner's network: what its eyes see is the prefix of a language model that writes the caption.

Where it stands: `patches`, `eyes`, `grounding`, `language`, `decoding` -> [captioner] -> `caption`. A small
convolutional network looks at the clip, or at its latent; what it sees is cut into patches, tokens at (t, h, w) and the
prefix of the language model, so a clip may have any size and length; and the words that it has for each place hint at
what comes next (`grounding`).

Legend: B clips, C t h w of "views", what the eyes look at: tubelets of pixels or latents; Lv prefix tokens, Lt text
tokens, V words, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisora.checkpoint import fill, load_weights, save_weights
from minisora.decoding import Decoding, Rule, write
from minisora.expand import plain
from minisora.eyes import Eyes, EyesConfig
from minisora.grounding import Grounding, phrase_words
from minisora.language import LanguageConfig, PrefixLM, Session, shift_right
from minisora.patches import Packed, pack, token_grid, unpack_groups
from minisora.text import Tokenizer


@dataclass(frozen=True)
class CaptionerConfig:
    """Size and words of a captioner.

    Attributes:
        vocabulary: the words of captions.
        eyes: of what looks at clips, and the patches it gives.
        language: of the model.
    """

    vocabulary: tuple[str, ...]
    eyes: EyesConfig = EyesConfig()
    language: LanguageConfig = LanguageConfig(depth=4)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> CaptionerConfig:
        """Rebuild from JSON."""
        eyes, language = EyesConfig(**data["eyes"]), LanguageConfig(**data["language"])
        return cls(tuple(data["vocabulary"]), eyes, language)


class Captioner(nn.Module):
    """Views in, captions out."""

    def __init__(self, config: CaptionerConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = Tokenizer(config.vocabulary, max_length=config.language.max_length)
        self.eyes = Eyes(config.eyes, config.language.width, len(self.tokenizer))
        self.lm = PrefixLM(config.language, len(self.tokenizer))
        self.loudness = nn.Parameter(torch.tensor(8.0))  # of the words that the eyes say
        self.urgency = nn.Parameter(torch.tensor(12.0))  # of the hints at what comes next

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.loudness.device

    def look(self, packed: Packed) -> list[Tensor]:
        """What the eyes see: features (n, t, h, w, C) of each group of packed clips."""
        return self.eyes(unpack_groups(packed.tokens, packed))

    def prefix(self, features: Tensor) -> Tensor:
        """(B, t, h, w, C) -> (B, Lv, D): each patch as it looks, and the words said there, as if they were read."""
        tokens = self.eyes.tokens(features)
        with torch.no_grad():  # what to say the eyes have learned before
            said = self.eyes.say(features).exp().movedim(-1, 1)  # (B, V, t, h, w)
        said = F.max_pool3d(said, self.config.eyes.patch).flatten(2).mT  # (B, Lv, V)
        return tokens + self.loudness * (said @ self.lm.embedding.weight)

    def ground(self, features: Tensor, plans: bool = False) -> Grounding:
        """(B, t, h, w, C) -> hints for texts about these clips; a writer `plans` what to speak of, see `grounding`."""
        log_p = self.eyes.say(features).flatten(1, 3)  # (B, P, V)
        words = phrase_words(self.tokenizer, self.device)
        scale = self.urgency * self.config.language.width**0.5  # rows of the head begin that small
        table = scale * self.lm.head.weight  # a hint pushes toward the words that it names
        return Grounding(log_p, self.eyes.voices(features), words, table, plans)

    def forward(self, packed: Packed, seen: Sequence[Tensor] | None = None) -> Tensor:
        """Logits (Lt, V) of the token after each of the packed text ids; `seen` is from `look`, else it looks now."""
        seen, layout = seen or self.look(packed), packed.layout
        tokens = layout.merge([self.prefix(features) for features in seen])
        texts = packed.text_ids.split([g.count * g.text_len for g in layout.groups])
        hints = [
            self.ground(features)(ids.view(len(features), -1)).flatten(0, 1)
            for features, ids in zip(seen, texts, strict=True)
        ]
        return self.lm(tokens, packed.text_ids, layout, torch.cat(hints))

    def pack_captions(self, views: Sequence[Tensor], texts: Sequence[str]) -> tuple[Packed, Tensor]:
        """Clips of any size with their captions as one sequence.

        Args:
            views, texts: one (C, t, h, w) for each clip, on the captioner's device, and its caption.

        Returns:
            the clips with what the model reads, and the ids (Lt,) that it is to write.
        """
        ids = self.tokenizer.encode_batch(texts).to(self.device)  # (n, l): only sizes make groups
        packed = pack(views, list(shift_right(ids)), self.config.eyes.footprint)
        return packed, ids[list(packed.order)].flatten()

    @torch.inference_mode()
    def begin(self, views: Tensor) -> Session:
        """Captions of clips of one size, (B, C, t, h, w), not a word written yet."""
        (features,) = self.eyes([views])
        grid = token_grid(views.shape[2:], self.config.eyes.footprint)
        return Session(self.lm, self.prefix(features), grid, self.ground(features, plans=True))

    def caption(
        self,
        views: Tensor,
        decoding: Decoding = Decoding(),
        generator: torch.Generator | None = None,
        rules: Sequence[Rule] | None = None,
    ) -> list[str]:
        """Describe clips of one size.

        Args:
            views: (B, C, t, h, w); h and w multiples of `EyesConfig.footprint`.
            decoding: greedy, beam or nucleus.
            generator: for nucleus, which needs one.
            rules: one for each clip, if captions are to have a form.
        """
        limit, end = self.config.language.max_length, self.tokenizer.end_id
        texts = write(self.begin(views), decoding, end, limit, generator, rules)
        return [plain(self.tokenizer.decode(text)) for text in texts]

    def log_likelihood(self, views: Sequence[Tensor], texts: Sequence[str]) -> Tensor:
        """How likely each text is for its clip: (n,), nats, the sum over its words; its end does not count.

        It is the chance of writing the text by the plan that it follows: to speak of its colors, in its order.

        Args:
            views: one (C, t, h, w) for each clip.
            texts: as many, each of at least one word.
        """
        with torch.inference_mode():
            packed, ids = self.pack_captions(views, texts)
            log_p = self(packed).float().log_softmax(dim=1).gather(1, ids[:, None])[:, 0]  # (Lt,)
            sums = (log_p * (ids > self.tokenizer.end_id)).view(len(texts), -1).sum(dim=1)
            return sums[torch.tensor(packed.order).argsort()]  # they were in packed order

    def save(self, path: Path, vae: str = "", **facts: Any) -> None:
        """Write weights as fp16 with the config inside, and the fingerprint of the VAE if it looks at latents."""
        config = asdict(self.config) | {"vae": vae, "facts": facts}
        save_weights(path, self.state_dict(), config, dtype=torch.float16)


def read_captioner(path: Path, device: str | torch.device = "cpu") -> tuple[Captioner, str]:
    """A captioner from its file, and the fingerprint of its VAE, empty if it looks at pixels.

    Raises:
        CheckpointError: the file is missing, truncated or altered.
    """
    tensors, config = load_weights(path)
    captioner = Captioner(CaptionerConfig.from_dict(config))
    fill(captioner, tensors, path)
    return captioner.to(device).eval().requires_grad_(False), config["vae"]
