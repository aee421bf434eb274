"""The adapter for Hugging Face text encoders: packing against a stand-in, and a random T5 where it is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import DIT, TEXT, generator
from torch import Tensor, nn

from minisora.config import TrainConfig
from minisora.hf_text import HuggingFaceText, HuggingFaceTokenizer, use_hugging_face
from minisora.latents import LatentDataset
from minisora.network import TextToLatent
from minisora.objectives import diffusion_objective
from minisora.patches import pack
from minisora.presets import TINY
from minisora.train import Trainer, fit
from minisora.worlds import VOCABULARY

THERE = importlib.util.find_spec("transformers") is not None


class Letters:
    """A tokenizer with Hugging Face's face: a letter a token, 1 the end, 0 the padding."""

    pad_token_id = 0

    def __call__(self, text: str, truncation: bool, max_length: int) -> dict[str, list[int]]:
        ids = [2 + ord(letter) % 60 for letter in text][: max_length - 1]
        return {"input_ids": [*ids, 1]}


class Averaging(nn.Module):
    """An encoder with Hugging Face's face: each state is its embedding plus the mean over the real tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(64, 16)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        x = self.embedding(input_ids)
        mask = attention_mask[..., None]
        mean = (x * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)
        return SimpleNamespace(last_hidden_state=x + mean)


def adapted() -> TextToLatent:
    torch.manual_seed(0)
    net = TextToLatent(TEXT, DIT, VOCABULARY)
    net.tokenizer = HuggingFaceTokenizer(Letters())  # type: ignore[assignment]
    net.text = HuggingFaceText(Averaging(), 16, DIT.text_width, 0)  # type: ignore[assignment]
    return net


def test_tokens_are_padded_to_few_lengths() -> None:
    tokenizer = HuggingFaceTokenizer(Letters(), multiple=8, max_length=16)
    assert tokenizer.encode("").tolist() == [1] + [0] * 7
    assert len(tokenizer.encode("a" * 8)) == 16 == len(tokenizer.encode("a" * 100))
    assert tokenizer.encode_batch(["a", "a" * 9]).shape == (2, 16)
    assert tokenizer.unknown_words("zebra") == []


def test_packed_texts_are_read_as_each_alone() -> None:
    net, g = adapted(), generator()
    latents = [torch.randn(4, 1, 4, 4, generator=g) for _ in range(3)]
    texts = ["a red 3", "a longer text than that", "a blue 7"]
    packed = pack(latents, net.tokenize(texts), DIT.patch)
    states = net.text.forward_packed(packed.text_ids, packed.layout)
    views = [view for group in packed.layout.split_text(states) for view in group]
    for place, i in enumerate(packed.order):
        ids = net.tokenizer.encode(texts[i])
        torch.testing.assert_close(views[place], net.text(ids[None])[0])
        assert torch.equal(views[place][ids == 0], torch.zeros(int((ids == 0).sum()), 32))


def test_padding_is_not_read() -> None:
    net = adapted()
    with torch.no_grad():
        short, padded = (net.text(net.tokenizer.encode("red", n)[None]) for n in (4, 24))
    torch.testing.assert_close(short[0], padded[0, :4])


def test_the_encoder_is_neither_trained_nor_saved(dataset: LatentDataset) -> None:
    net = adapted()
    frozen = net.text._frozen[0].embedding.weight  # type: ignore[index, union-attr]
    before = frozen.clone()
    config = TrainConfig(steps=3, batch=4, lr=1e-2, warmup=1)
    start = net.text.project.weight.detach().clone()  # type: ignore[union-attr]
    records = list(fit(Trainer(net, config), diffusion_objective(net, dataset, 4, TINY.flow)))
    assert len(records) == 3 and torch.equal(before, frozen)
    assert not torch.equal(start, net.text.project.weight)  # type: ignore[union-attr, arg-type]
    assert not any("_frozen" in name or "embedding" in name for name in net.text.state_dict())
    assert adapted().to(torch.float64).text._frozen[0].embedding.weight.dtype == torch.float64  # type: ignore[index, union-attr]


@pytest.mark.skipif(THERE, reason="transformers is installed")
def test_without_transformers_the_extra_is_named() -> None:
    with pytest.raises(ImportError, match=r"minisora\[hf\]"):
        use_hugging_face(TextToLatent(TEXT, DIT, VOCABULARY), "t5")


@pytest.mark.skipif(not THERE, reason="needs the extra hf: transformers is not installed")
def test_a_random_t5_reads_prompts(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Words
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    known = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {w: 3 + i for i, w in enumerate(VOCABULARY)}
    words = Words(WordLevel(known, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    marks = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **marks).save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = T5Config(vocab_size=len(known), d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=3)
    encoder = T5EncoderModel(config).eval()
    encoder.save_pretrained(tmp_path)
    net = use_hugging_face(TextToLatent(TEXT, DIT, VOCABULARY), tmp_path)
    ids = net.tokenizer.encode("a red 3")
    assert ids.tolist()[3:] == [1, 0, 0, 0, 0]
    with torch.no_grad():
        states = encoder(ids[None, :4]).last_hidden_state
        wanted = net.text.project(net.text.norm(states))  # type: ignore[union-attr, operator]
        torch.testing.assert_close(net.text(ids[None])[:, :4], wanted, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"no config\.json"):
        use_hugging_face(net, tmp_path / "none")
