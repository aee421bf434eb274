"""The whole model: prompt in, clip out.

Joins tokenizer, text encoder, diffusion transformer and video VAE, and runs a sampler over them.
`MiniSora.generate` and `loading.load` are the package's front door.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor, nn

from minisora import grids, guidance
from minisora.checkpoint import save_weights
from minisora.config import ClipSize
from minisora.expand import Expander, load_expander
from minisora.flow import token_shift
from minisora.network import ModelConfig, TextToLatent
from minisora.patches import token_grid
from minisora.precision import autocast
from minisora.progress import run
from minisora.rope import RopeScaling
from minisora.sample import SAMPLERS, Denoiser, guide, in_interval, pyramid_schedule, timesteps
from minisora.vae import VideoVAE
from minisora.worlds.misreading import misread

if TYPE_CHECKING:
    from minisora.video import VideoClip

Size = tuple[int, int]
"""(height, width) in pixels."""


class MiniSora(nn.Module):
    """Text-to-video: `generate` makes clips of any size and length from prompts.

    Args:
        config: shapes and sampling constants; `load` reads one from a checkpoint.
        sizes: of the clips it was trained on, as far as they are known.
    """

    def __init__(self, config: ModelConfig, sizes: Sequence[ClipSize] = ()) -> None:
        super().__init__()
        self.config, self.sizes = config, tuple(sizes)
        self.fast = False  # True: denoise in bfloat16 where the hardware is fast at it
        self.vae = VideoVAE(config.vae)
        self.net = TextToLatent(config.text, config.dit, config.vocabulary)
        self.folder: Path | None = None  # where `load` found it, and where its expander may lie
        self._expanders: list[Expander] = []  # none of its weights; loaded when first asked for

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.vae.latent_mean.device

    @overload
    def generate(self, prompt: str = "", **settings: Any) -> VideoClip: ...
    @overload
    def generate(self, prompt: list[str] | tuple[str, ...], **settings: Any) -> list[VideoClip]: ...
    def generate(  # type: ignore[misc]  # the overloads leave its settings out
        self,
        prompt: str | Sequence[str] = "",
        *,
        frames: int = 17,
        size: Size = (64, 64),
        draft: Size | None = None,
        draft_level: float = grids.DRAFT_LEVEL,
        seed: int = 0,
        steps: int = 30,
        guidance_scale: float = guidance.GUIDANCE_SCALE,
        guidance_interval: tuple[float, float] = guidance.GUIDANCE_INTERVAL,
        pag_scale: float = guidance.PAG_SCALE,
        contrast_scale: float = guidance.CONTRAST_SCALE,
        negative_prompt: str | None = None,
        sampler: str = "dpmpp_2m",
        lag: int = 0,
        expand: bool = False,
        scaling: RopeScaling | Literal["interpolate", "ntk"] | None = None,
        progress: bool | Callable[[Tensor], None] = False,
    ) -> VideoClip | list[VideoClip]:
        """Make a clip for each prompt.

        Args:
            prompt: one prompt, or a list for a batch. Empty: whatever the model likes.
            frames: 1 + 4k; 1 makes an image.
            size: (height, width) in pixels, multiples of 16.
            draft: a smaller size to decide the composition at. The clip of this size, prompt and seed is made
                first; the large one starts from noise related to its noise, with as much of the draft in it
                as `draft_level` lets through, see `grids`.
            draft_level: noise level at which the large clip takes over; at 1 only the noise is related.
            seed: clip i of a batch uses seed + i, so each can be made again alone.
            steps: sampler steps that each latent frame passes through, 1 or more.
            guidance_scale: 1 follows the prompt as trained; higher follows it more closely, with less variety.
            guidance_interval: noise levels between which guidance of all kinds acts (2404.07724).
            pag_scale: perturbed-attention guidance (2403.17377): how far to go away from what the network guesses
                while its middle blocks are blind to other tokens. Steadies shapes; 0 saves a quarter of the time.
            contrast_scale: contrastive guidance (2402.13490): how far to go away from the negative prompt, at noise
                levels of `guidance.CONTRAST_FROM` and above.
            negative_prompt: what the clips shall not be; None for what each prompt is easily mistaken for
                (`worlds.misreading.misread`), and a prompt that is not takes no more time.
            sampler: "euler", "heun" or "dpmpp_2m".
            lag: steps by which a latent frame starts after the one before it, so that it can follow a cleaner
                one: 0 makes all at once, `steps` one after the other. The network runs for `steps` plus `lag`
                for each latent frame after the first.
            expand: first turn each prompt into a detailed caption that keeps all it states (`expand.Expander`);
                the clip's own prompt is then that caption. What is added depends on the seed.
            scaling: what becomes of positions beyond those trained on: None extrapolates them, "interpolate"
                and "ntk" bring them into the range of `sizes`, see `rope.RopeScaling`.
            progress: True shows a bar; a function is called after each step with the present guess at
                the clean latents (B, Z, t, h, w), for previews.

        Returns:
            a `VideoClip`, or a list of them if `prompt` is a list.

        Raises:
            ValueError: if a size, a length, the sampler's name or a number of steps is not allowed.
            DataError: if prompts are to be expanded and there is no expander.
        """
        from minisora.video import VideoClip  # here, because training needs no PyAV

        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        self._check(prompts, negative_prompt, frames, size, draft, draft_level, sampler)
        prompts = self.expand(prompts, frames=frames, seed=seed) if expand else prompts
        scales = (guidance_scale, guidance_interval, scaling, pag_scale, contrast_scale)
        denoise = self.denoiser(prompts, *scales, negative_prompt)

        def make(z: Tensor, times: Tensor) -> Tensor:
            schedule = pyramid_schedule(times, z.shape[2], lag)
            return run(SAMPLERS[sampler](denoise, z, schedule), len(schedule) - 1, progress)

        z, times = self._start(len(prompts), frames, size, seed, steps, draft)
        if draft is not None and draft_level < 1:
            small = make(*self._start(len(prompts), frames, draft, seed, steps))
            z, times = grids.continue_draft(small, z, times, draft_level)
        videos = self.pixels(make(z, times))
        clips = [VideoClip(v, self.config.fps, p) for v, p in zip(videos, prompts, strict=True)]
        return clips[0] if isinstance(prompt, str) else clips

    def expand(self, prompts: Sequence[str], *, frames: int = 17, seed: int = 0) -> list[str]:
        """A detailed caption for each prompt, as `generate(..., expand=True)` uses it.

        Args:
            prompts: any strings.
            frames: of the clip that is to be made.
            seed: prompt i is expanded by seed + i, so each can be expanded again alone.

        Raises:
            DataError: if there is no expander.
        """
        if not self._expanders:
            self._expanders.append(load_expander(self.folder))
        generators = [torch.Generator().manual_seed(seed + i) for i in range(len(prompts))]
        return self._expanders[0].expand(prompts, frames=frames, generators=generators)

    def pixels(self, latent: Tensor) -> Tensor:
        """Video (B, 3, T, H, W) in [0, 1], on the CPU, from latents (B, Z, t, h, w)."""
        with torch.inference_mode():
            video = self.vae.decode(latent).clamp(0.0, 1.0).cpu()
        return video.clone()  # what inference mode makes could never meet a gradient

    def latents(self, video: Tensor) -> Tensor:
        """Latents (B, Z, t, h, w) of a video (B, 3, T, H, W) in [0, 1]."""
        with torch.inference_mode():
            latent = self.vae.encode(video.to(self.device))
        return latent.clone()

    def noise(self, frames: int, size: Size, seed: int, draft: Size | None = None) -> Tensor:
        """The grid of noise a clip starts from, (Z, t, h, w): its shape sets the clip's size and length.

        With a `draft`, a smaller size, it is related to that of the same seed, see `grids`.
        """
        generator = torch.Generator().manual_seed(seed)
        latent_shape = self.config.vae.latent_shape
        noise = torch.randn(latent_shape(frames, *(draft or size)), generator=generator)
        if draft is not None:
            _, _, height, width = latent_shape(frames, *size)
            noise = grids.enlarge_noise(noise, (height, width), generator)
        return noise.to(self.device)

    def _start(
        self, clips: int, frames: int, size: Size, seed: int, steps: int, draft: Size | None = None
    ) -> tuple[Tensor, Tensor]:
        """Noise (B, Z, t, h, w), and the levels that clips of that size pass through."""
        z = torch.stack([self.noise(frames, size, seed + i, draft) for i in range(clips)])
        return z, timesteps(steps, self.shift(z.shape[2:]), device=self.device)

    def rope_scaling(self, kind: Literal["interpolate", "ntk"]) -> RopeScaling:
        """RoPE scaled to the longest side of each kind that the model was trained on.

        Raises:
            ValueError: if nobody knows what it was trained on.
        """
        if not self.sizes:
            raise ValueError(
                f"scaling={kind!r}: this model does not say which sizes it was trained on; "
                "give a RopeScaling, which names the longest."
            )
        shapes = [self.config.vae.latent_shape(s.frames, s.height, s.width) for s in self.sizes]
        grids = [token_grid(shape[1:], self.config.dit.patch) for shape in shapes]
        t, h, w = (max(sides) for sides in zip(*grids, strict=True))
        return RopeScaling(kind, (t, h, w))

    def shift(self, grid: Sequence[int]) -> float:
        """Timestep shift for a latent grid (t, h, w), the same as in training."""
        t, h, w = token_grid(tuple(grid), self.config.dit.patch)
        return token_shift(t * h * w, self.config.flow)

    def denoiser(
        self,
        prompts: Sequence[str],
        guidance_scale: float = 1.0,
        interval: tuple[float, float] = (0.0, 1.0),
        scaling: RopeScaling | Literal["interpolate", "ntk"] | None = None,
        pag_scale: float = 0.0,
        contrast_scale: float = 0.0,
        negative_prompt: str | None = None,
    ) -> Denoiser:
        """The network as a function (z (B, Z, t, h, w), levels (B, t)) -> x_hat, guided by prompts, one a clip.

        With guidance the prompted and the unprompted clips go through the network in one packed sequence; in another
        go those that have a negative prompt, see `generate`. Each prompt keeps the length it was trained at, so a
        clip does not depend on the rest of its batch.
        """
        ids, empty = self._ids(prompts), self._ids([""] * len(prompts))
        rope = self.rope_scaling(scaling) if isinstance(scaling, str) else scaling
        negative = [misread(p) if negative_prompt is None else negative_prompt for p in prompts]
        differ = [i for i, p in enumerate(prompts) if contrast_scale and negative[i] != p]
        others = self._ids([negative[i] for i in differ])
        early = (max(interval[0], guidance.CONTRAST_FROM), interval[1])

        def predict(z: Tensor, levels: Tensor, texts: list[Tensor], blind: bool = False) -> Tensor:
            with autocast(self.device, self.fast):
                return self.net.guess(z, levels, texts, rope, blind)

        def denoise(z: Tensor, levels: Tensor) -> Tensor:
            inside = in_interval(levels, interval).any()
            if guidance_scale == 1.0 or not inside:
                x_prompt = x_guided = predict(z, levels, ids)
            else:
                both = predict(torch.cat([z, z]), torch.cat([levels, levels]), ids + empty)
                x_prompt, x_empty = both.chunk(2)
                x_guided = guide(x_prompt, x_empty, levels, guidance_scale, interval)
            if differ and in_interval(levels, early).any():
                x_other = x_prompt.clone()
                x_other[differ] = predict(z[differ], levels[differ], others)
                away = (x_prompt, x_other, levels, contrast_scale, early)
                x_guided = guidance.contrast(x_guided, *away)
            if pag_scale == 0.0 or not inside:
                return x_guided
            x_blind = predict(z, levels, ids, blind=True)
            return guidance.steady(x_guided, x_prompt, x_blind, levels, pag_scale, interval)

        return denoise

    def _ids(self, texts: Sequence[str]) -> list[Tensor]:
        """What the network reads of each text."""
        return [ids.to(self.device) for ids in self.net.tokenize(texts)] if texts else []

    def _check(
        self,
        prompts: Sequence[str],
        negative_prompt: str | None,
        frames: int,
        size: Size,
        draft: Size | None,
        draft_level: float,
        sampler: str,
    ) -> None:
        if not prompts:
            raise ValueError("No prompt given; pass a string or a list of at least one string.")
        if sampler not in SAMPLERS:
            raise ValueError(f"Unknown sampler {sampler!r}; choose one of {', '.join(SAMPLERS)}.")
        vae, (_, ph, pw) = self.config.vae, self.config.dit.patch
        units = (vae.spatial * ph, vae.spatial * pw)
        grids.check_size(size, units)
        grids.check_frames(frames, vae.temporal)
        if draft is not None:
            grids.check_draft(draft, size, units, draft_level)
        self.net.warn_of_unknown_words([*prompts, negative_prompt or ""])

    def save(self, folder: str | Path, dtype: torch.dtype | None = None, **facts: Any) -> None:
        """Write `vae.safetensors` and `generator.safetensors` to `folder`, each with the config inside.

        Args:
            dtype: store weights as this type, e.g. torch.float16 to ship them.
            facts: anything JSON-able to keep with the weights, e.g. the training steps.
        """
        config = asdict(self.config) | {"facts": facts}
        for name, part in (("vae", self.vae), ("generator", self.net)):
            save_weights(
                Path(folder) / f"{name}.safetensors", part.state_dict(), config, dtype=dtype
            )
