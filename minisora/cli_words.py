"""The commands about words: `minisora caption | recaption | expand | train-captioner | train-expander`.

A thin surface over `caption`, `recaption`, `expand` and their trainings, joined to the other commands by `cli`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tqdm.auto import tqdm

from minisora.arguments import pick_device

Videos = Annotated[list[Path], tyro.conf.Positional]
Folder = Annotated[Path, tyro.conf.Positional]
Prompt = Annotated[str, tyro.conf.Positional]
Out = Annotated[Path, tyro.conf.arg(aliases=["-o"])]


@dataclass
class Words:
    """Which captioner, and how it chooses words."""

    checkpoint: str = "moving-mnist"
    """A shipped checkpoint or a folder."""
    style: Literal["detailed", "short"] = "detailed"
    """Everything, or color and class and perhaps one thing more."""
    method: Literal["greedy", "beam", "nucleus"] = "greedy"
    """The likeliest word each time, the likeliest text of several, or words drawn."""
    beams: int = 4
    """Texts followed by beam."""
    temperature: float = 1.0
    """Of nucleus: above 1 more various."""
    top_p: float = 0.9
    """Nucleus draws among the likeliest words that together have this probability."""
    device: str = "cpu"
    """auto, cpu, cuda or mps."""

    def load(self) -> Any:
        """The captioner and its VAE."""
        from minisora.caption import load_captioner

        return load_captioner(self.checkpoint, self.style, pick_device(self.device))

    def decoding(self) -> Any:
        """The settings as the captioner takes them."""
        from minisora.decoding import Decoding

        return Decoding(self.method, self.beams, self.temperature, self.top_p)


@dataclass
class Caption:
    """Say what a video shows."""

    videos: Videos
    """Video or image files."""
    seed: int = 0
    """Of the words that nucleus draws."""
    words: tyro.conf.OmitArgPrefixes[Words] = field(default_factory=Words)

    def run(self) -> None:
        """Print a line for each file."""
        import torch

        from minisora.video import read_video

        if not self.videos:
            raise ValueError("No video given; name at least one file.")
        describer, how = self.words.load(), self.words.decoding()
        for path in self.videos:
            generator = torch.Generator().manual_seed(self.seed)
            (text,) = describer.caption([read_video(path).video], how, generator)
            print(f"{path}: {text}" if len(self.videos) > 1 else text)


@dataclass
class Recaption:
    """Write new captions beside the clips of a folder, keeping the old ones; run again to go on."""

    folder: Folder
    """Videos, or shards of latents that `minisora train` encoded."""
    blend: float = 0.95
    """Share of new captions that training is to use; the rest are the old ones."""
    words: tyro.conf.OmitArgPrefixes[Words] = field(default_factory=Words)

    def run(self) -> None:
        """Describe whatever is not yet described."""
        from minisora.recaption import recaption

        rounds = recaption(
            self.folder,
            self.words.load(),
            blend=self.blend,
            style=self.words.style,
            decoding=self.words.decoding(),
        )
        before, total = next(rounds)  # outside the bar, so that an error stands alone
        with tqdm(desc="captions", initial=before, total=total) as bar:
            for done, _ in rounds:
                bar.update(done - bar.n)
        print(
            f"{self.folder}: {total} clips have captions, to be used in a blend of {self.blend:g}."
        )


@dataclass
class Expand:
    """Turn a short prompt into a detailed caption that keeps all it states."""

    prompt: Prompt
    """For example "a three"."""
    count: int = 1
    """How many different ones to write."""
    frames: int = 17
    """Of the clip to be made; captions of an image (1) say nothing of motion."""
    seed: int = 0
    """The same seed gives the same caption, and the one that `generate --expand` uses."""
    checkpoint: str = "moving-mnist"
    """A shipped checkpoint or a folder."""

    def run(self) -> None:
        """Print the captions."""
        import torch

        from minisora.expand import load_expander
        from minisora.loading import checkpoint_folder

        if self.count < 1 or self.frames < 1:
            raise ValueError(f"count={self.count}, frames={self.frames}: give at least 1.")
        expander = load_expander(checkpoint_folder(self.checkpoint))
        seeds = range(self.seed, self.seed + self.count)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        for text in expander.expand(
            [self.prompt] * self.count, frames=self.frames, generators=generators
        ):
            print(text)


def show(items: Iterator[Any], total: int, title: str) -> Iterator[Any]:
    """Pass `items` on, with a bar; an item is a `Record` or the number done so far."""
    with tqdm(total=total, desc=title) as bar:
        for item in items:
            bar.update((item if isinstance(item, int) else item.step) - bar.n)
            if not isinstance(item, int):
                shares = {k: f"{v:.0%}" for k, v in item.parts.items() if k != "clips"}
                bar.set_postfix({"loss": f"{item.loss:.3f}"} | shares)
            yield item


@dataclass
class TrainCaptioner:
    """Train the captioner: alt-text, then short captions, then detailed ones. Run again to resume."""

    out: Out = Path("outputs/captioner")
    """Folder for training states, logs and the finished captioners."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""

    def run(self) -> None:
        """Train every stage that is not finished yet."""
        from minisora.caption import FILES
        from minisora.captioner_preset import CAPTIONER
        from minisora.train_captioner import train_captioner

        device = pick_device(self.device)
        train_captioner(CAPTIONER, self.out, device, show)
        made = ", ".join(str(self.out / name) for name in FILES.values())
        print(f"Done: {made}. Copy them into the checkpoint's folder to use them.")


@dataclass
class TrainExpander:
    """Train the prompt expander. Run again to resume."""

    out: Out = Path("outputs/expander")
    """Folder for training states, the log and the finished expander."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""

    def run(self) -> None:
        """Train, unless it is done."""
        from minisora.expand import FILE
        from minisora.train_expander import EXPANDER, train_expander

        train_expander(EXPANDER, self.out, pick_device(self.device), show)
        print(f"Done: {self.out / FILE}. Copy it into the checkpoint's folder to use it.")
