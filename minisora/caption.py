"""The captioner: a clip in, its description out, word by word. It sees latents, never the facts of a scene.

Where it stands: `vae`, `patches`, `eyes`, `grounding`, `language`, `decoding` -> [caption] -> `recaption`. After
DALL-E 3 (Betker et al. 2023), whose captioner is trained on alt-text, then twice more from there: on short synthetic
captions (SSC) and on descriptive ones (DSC). Here a small convolutional network looks at the clip's latent; what it
sees is cut into patches, tokens at (t, h, w) and the prefix of a language model, so a clip may have any size and
length; and the words that it has for each place hint at what comes next (`grounding`).

Legend: B Z t h w latents, B C T H W video, D width.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisora.checkpoint import fill, load_weights, save_weights
from minisora.decoding import Decoding, Rule, write
from minisora.expand import caption_form, plain
from minisora.eyes import Eyes, EyesConfig, fit_video
from minisora.grounding import Grounding, phrase_words
from minisora.language import LanguageConfig, PrefixLM, Session, shift_right
from minisora.latents import fingerprint
from minisora.loading import checkpoint_folder, load_vae
from minisora.patches import Packed, pack, token_grid, unpack_groups
from minisora.paths import DataError
from minisora.text import Tokenizer
from minisora.vae import VideoVAE

if TYPE_CHECKING:
    from minisora.video import VideoClip

Style = Literal["detailed", "short"]
FILES = {"detailed": "captioner.safetensors", "short": "captioner-short.safetensors"}


@dataclass(frozen=True)
class CaptionerConfig:
    """Size and words of a captioner.

    Attributes:
        vocabulary: the words of captions.
        eyes: of what looks at latents, and the patches it gives.
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
    """Latents in, captions out."""

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

    def ground(self, features: Tensor) -> Grounding:
        """(B, t, h, w, C) -> hints for texts about these clips."""
        log_p = self.eyes.say(features).flatten(1, 3)  # (B, P, V)
        opens, counts = (words.to(self.device) for words in phrase_words(self.tokenizer))
        scale = self.urgency * self.config.language.width**0.5  # rows of the head begin that small
        table = scale * self.lm.head.weight  # a hint pushes toward the words that it names
        return Grounding(log_p, self.eyes.voices(features), opens, counts, table)

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

    def pack_captions(
        self, latents: Sequence[Tensor], texts: Sequence[str]
    ) -> tuple[Packed, Tensor]:
        """Clips of any size with their captions as one sequence.

        Args:
            latents, texts: one (Z, t, h, w) for each clip, on the captioner's device, and its caption.

        Returns:
            the clips with what the model reads, and the ids (Lt,) that it is to write.
        """
        ids = self.tokenizer.encode_batch(texts).to(self.device)  # (n, l): only sizes make groups
        packed = pack(latents, list(shift_right(ids)), self.config.eyes.patch)
        return packed, ids[list(packed.order)].flatten()

    @torch.inference_mode()
    def begin(self, latents: Tensor) -> Session:
        """Captions of clips of one size, (B, Z, t, h, w), not a word written yet."""
        (features,) = self.eyes([latents])
        grid = token_grid(latents.shape[2:], self.config.eyes.patch)
        return Session(self.lm, self.prefix(features), grid, self.ground(features))

    def caption(
        self,
        latents: Tensor,
        decoding: Decoding = Decoding(),
        generator: torch.Generator | None = None,
        rules: Sequence[Rule] | None = None,
    ) -> list[str]:
        """Describe clips of one size.

        Args:
            latents: (B, Z, t, h, w); h and w multiples of the patch.
            decoding: greedy, beam or nucleus.
            generator: for nucleus, which needs one.
            rules: one for each clip, if captions are to have a form.
        """
        limit, end = self.config.language.max_length, self.tokenizer.end_id
        texts = write(self.begin(latents), decoding, end, limit, generator, rules)
        return [plain(self.tokenizer.decode(text)) for text in texts]

    def log_likelihood(self, latents: Sequence[Tensor], texts: Sequence[str]) -> Tensor:
        """How likely each text is for its clip: (n,), nats, the sum over its words; its end does not count.

        Args:
            latents: one (Z, t, h, w) for each clip.
            texts: as many, each of at least one word.
        """
        with torch.inference_mode():
            packed, ids = self.pack_captions(latents, texts)
            log_p = self(packed).float().log_softmax(dim=1).gather(1, ids[:, None])[:, 0]  # (Lt,)
            sums = (log_p * (ids > self.tokenizer.end_id)).view(len(texts), -1).sum(dim=1)
            return sums[torch.tensor(packed.order).argsort()]  # they were in packed order

    def save(self, path: Path, vae: str, **facts: Any) -> None:
        """Write weights as fp16 with the config inside, and the fingerprint of the VAE whose latents it reads."""
        config = asdict(self.config) | {"vae": vae, "facts": facts}
        save_weights(path, self.state_dict(), config, dtype=torch.float16)


@dataclass(frozen=True)
class VideoCaptioner:
    """A captioner with its VAE: pixels in, captions out; a `detailed` one leaves nothing out, says nothing twice."""

    vae: VideoVAE
    captioner: Captioner
    detailed: bool = False

    def caption(
        self,
        videos: Sequence[Tensor],
        decoding: Decoding = Decoding(),
        generator: torch.Generator | None = None,
        batch: int = 32,
    ) -> list[str]:
        """Describe videos of any sizes and lengths.

        Args:
            videos: one (3, T, H, W) in [0, 1] for each clip; see `fit_video`.
            decoding, generator: see `Captioner.caption`.
            batch: clips of one size described at once.
        """
        captions = [""] * len(videos)
        for some, z in self._encoded(videos, batch):
            for i, text in zip(some, self.describe(z, decoding, generator), strict=True):
                captions[i] = text
        return captions

    def describe(self, z: Tensor, decoding: Decoding, drawn: torch.Generator | None) -> list[str]:
        """Describe clips of one size by their latents (n, Z, t, h, w)."""
        form = caption_form(self.captioner.tokenizer, moving=z.shape[2] > 1)
        rules = [form] * len(z) if self.detailed else None
        return self.captioner.caption(z, decoding, drawn, rules)

    def log_likelihood(
        self, videos: Sequence[Tensor], texts: Sequence[str], batch: int = 32
    ) -> Tensor:
        """How likely each text is for its video, (n,), see `Captioner.log_likelihood`."""
        found = torch.empty(len(videos))
        for some, z in self._encoded(videos, batch):
            scores = self.captioner.log_likelihood(list(z), [texts[i] for i in some])
            found[torch.tensor(some)] = scores.cpu()
        return found

    def _encoded(self, videos: Sequence[Tensor], batch: int) -> Iterator[tuple[list[int], Tensor]]:
        """Numbers and latents (n, Z, t, h, w) of the videos, clips of one size together."""
        fitted = [fit_video(video, self.vae, self.captioner.config.eyes.patch) for video in videos]
        members: dict[torch.Size, list[int]] = {}
        for i, video in enumerate(fitted):
            members.setdefault(video.shape, []).append(i)
        for group in members.values():
            for first in range(0, len(group), batch):
                some = group[first : first + batch]
                with torch.inference_mode():
                    z = self.vae.encode(torch.stack([fitted[i] for i in some]))
                yield some, z


def read_captioner(path: Path, device: str | torch.device = "cpu") -> tuple[Captioner, str]:
    """A captioner from its file, and the fingerprint of its VAE.

    Raises:
        CheckpointError: the file is missing, truncated or altered.
    """
    tensors, config = load_weights(path)
    captioner = Captioner(CaptionerConfig.from_dict(config))
    fill(captioner, tensors, path)
    return captioner.to(device).eval().requires_grad_(False), config["vae"]


def load_captioner(
    name: str | Path = "moving-mnist", style: Style = "detailed", device: str | torch.device = "cpu"
) -> VideoCaptioner:
    """The captioner of a checkpoint, with its VAE.

    Args:
        name: a shipped checkpoint or a folder.
        style: "detailed" (DSC) or "short" (SSC).

    Raises:
        DataError: no such checkpoint, or no such captioner in it.
        ValueError: unknown style, or the captioner was trained on the latents of another VAE.
    """
    if style not in FILES:
        raise ValueError(f"style={style!r}: choose one of {', '.join(FILES)}.")
    path = (folder := checkpoint_folder(name)) / FILES[style]
    if not path.exists():
        raise DataError(
            f"{folder} holds no {style} captioner ({path.name}); make one with "
            "`minisora train-captioner` and copy it there."
        )
    vae = load_vae(folder, device)
    captioner, trained_on = read_captioner(path, device)
    if (ours := fingerprint(vae)) != trained_on:
        raise ValueError(
            f"{path} was trained on the latents of another VAE ({trained_on}, this one is {ours}); "
            "train it again with `minisora train-captioner`."
        )
    return VideoCaptioner(vae, captioner, detailed=style == "detailed")


_kept = lru_cache(maxsize=2)(load_captioner)


def caption_clip(
    clip: VideoClip,
    checkpoint: str | Path = "moving-mnist",
    *,
    style: Style = "detailed",
    decoding: Decoding = Decoding(),
    seed: int = 0,
) -> str:
    """What a clip shows, in words; `VideoClip.caption` calls this.

    Args:
        clip: of any size and length.
        checkpoint: whose captioner; it stays in memory for the next clip.
        style: "detailed" or "short".
        decoding: greedy, beam or nucleus.
        seed: of the words that nucleus draws.
    """
    generator = torch.Generator().manual_seed(seed)
    (text,) = _kept(str(checkpoint), style).caption([clip.video], decoding, generator)
    if not text:
        warnings.warn("The captioner found no words for this clip.", stacklevel=2)
    return text
