"""The captioner: a clip in, its description out, word by word. It sees latents, never the facts of a scene.

Where it stands: `vae`, `patches`, `eyes`, `language`, `decoding` -> [caption] -> `recaption`. DALL-E 3 (Betker et al.
2023) trains a captioner on alt-text, then twice more from there: on short synthetic captions (SSC) and on descriptive
ones (DSC); Sora's report describes its training clips with such a captioner. Here a small convolutional network looks
at the clip's latent, what it sees is cut into spacetime patches as for the transformer, each patch is a token at
(t, h, w), and the tokens of all patches are the prefix of a language model; so a clip may have any size and length.

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
from minisora.decoding import Decoding, write
from minisora.expand import plain
from minisora.eyes import Eyes, EyesConfig, fit_video
from minisora.language import LanguageConfig, PrefixLM, Session, shift_right
from minisora.latents import fingerprint
from minisora.layers import linear
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
        self.eyes = Eyes(config.eyes, config.language.width)
        self.words = linear(config.eyes.width, len(self.tokenizer))
        self.lm = PrefixLM(config.language, len(self.tokenizer))
        self.loudness = nn.Parameter(torch.tensor(8.0))  # of the words that the eyes say

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.words.weight.device

    def look(self, packed: Packed) -> list[Tensor]:
        """What the eyes see: features (n, t, h, w, C) of each group of packed clips."""
        return self.eyes(unpack_groups(packed.tokens, packed))

    def say(self, features: Tensor) -> Tensor:
        """(B, t, h, w, C) -> (B, t, h, w, V): log-probabilities of the words for what is at each place."""
        return F.log_softmax(self.words(features.float()).float(), dim=-1)

    def prefix(self, features: Tensor) -> Tensor:
        """(B, t, h, w, C) -> (B, Lv, D): each patch as it looks, and the words said there, as if they were read."""
        tokens = self.eyes.tokens(features)
        with torch.no_grad():  # what to say the eyes have learned before
            said = self.say(features).exp().movedim(-1, 1)  # (B, V, t, h, w)
        said = F.max_pool3d(said, self.config.eyes.patch).flatten(2).mT  # (B, Lv, V)
        return tokens + self.loudness * (said @ self.lm.embedding.weight)

    def forward(self, packed: Packed, seen: Sequence[Tensor] | None = None) -> Tensor:
        """Logits (Lt, V) of the token after each of the packed text ids; `seen` is from `look`, else it looks now."""
        tokens = [self.prefix(features) for features in seen or self.look(packed)]
        return self.lm(packed.layout.merge(tokens), packed.text_ids, packed.layout)

    def pack_captions(
        self, latents: Sequence[Tensor], texts: Sequence[str]
    ) -> tuple[Packed, Tensor]:
        """Clips of any size with their captions as one sequence.

        Args:
            latents: one (Z, t, h, w) for each clip, on the captioner's device.
            texts: as many captions.

        Returns:
            the clips with what the model reads, and the ids (Lt,) that it is to write.
        """
        ids = self.tokenizer.encode_batch(texts).to(self.device)  # (n, l): only sizes make groups
        packed = pack(latents, list(shift_right(ids)), self.config.eyes.patch)
        return packed, ids[list(packed.order)].flatten()

    def caption(
        self,
        latents: Tensor,
        decoding: Decoding = Decoding(),
        generator: torch.Generator | None = None,
    ) -> list[str]:
        """Describe clips of one size.

        Args:
            latents: (B, Z, t, h, w); h and w multiples of the patch.
            decoding: greedy, beam or nucleus.
            generator: for nucleus, which needs one.
        """
        grid = token_grid(latents.shape[2:], self.config.eyes.patch)
        with torch.inference_mode():
            session = Session(self.lm, self.prefix(self.eyes([latents])[0]), grid)
        limit, end = self.config.language.max_length, self.tokenizer.end_id
        texts = write(session, decoding, end, limit, generator)
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
            words = log_p * (ids > self.tokenizer.end_id)
            sums = words.view(len(texts), -1).sum(dim=1)  # (n,), in packed order
            return sums[torch.tensor(packed.order).argsort()]

    def save(self, path: Path, vae: str, **facts: Any) -> None:
        """Write weights as fp16 with the config inside, and the fingerprint of the VAE whose latents it reads."""
        config = asdict(self.config) | {"vae": vae, "facts": facts}
        save_weights(path, self.state_dict(), config, dtype=torch.float16)


@dataclass(frozen=True)
class VideoCaptioner:
    """A captioner with the VAE whose latents it reads: pixels in, captions out."""

    vae: VideoVAE
    captioner: Captioner

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
            texts = self.captioner.caption(z, decoding, generator)
            for i, text in zip(some, texts, strict=True):
                captions[i] = text
        return captions

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
    return VideoCaptioner(vae, captioner)


@lru_cache(maxsize=2)
def _kept(name: str, style: Style) -> VideoCaptioner:
    return load_captioner(name, style)


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
