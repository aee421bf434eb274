"""Wrong answers to notebook 07's exercises, and what the checker must say about them."""

MUTANTS: dict[str, list[tuple[str, str]]] = {
    "07.1": [
        (  # a sentence that is over is left out
            """
def following(sentences, said):
    n = len(said)
    return {s[n] for s in sentences if s[:n] == said and len(s) > n}
""",
            r"a sentence may end, but your set lacks it",
        ),
        (  # only the last word is looked at
            """
def following(sentences, said):
    found = set()
    for s in sentences:
        for i, word in enumerate([*s, ""]):
            if (i == 0 and not said) or (i > 0 and said and s[i - 1] == said[-1]):
                found.add(word)
    return found
""",
            r"may not (come|end), but your set has it",
        ),
        (  # the words said, in any order
            """
def following(sentences, said):
    n = len(said)
    return {[*s, ""][n] for s in sentences if len(s) >= n and set(said) <= set(s)}
""",
            r"may not (come|end), but your set has it",
        ),
        (  # the whole rest of the sentence
            """
def following(sentences, said):
    n = len(said)
    return {word for s in sentences if s[:n] == said for word in [*s[n:], ""]}
""",
            r"may not (come|end), but your set has it",
        ),
        (  # a list, with repetitions
            """
def following(sentences, said):
    n = len(said)
    return [[*s, ""][n] for s in sentences if s[:n] == said]
""",
            r"you return list, not a set",
        ),
    ],
    "07.2": [
        (  # one mask for the whole batch: all prefixes are seen by all
            """
def packed_prefix_mask(clips):
    kinds = torch.cat([torch.tensor([0] * l + [1] * S) for l, S in clips])
    place = torch.arange(len(kinds))
    text = kinds == 0
    return (kinds == 1)[None] | (text[:, None] & text[None] & (place[None] <= place[:, None]))
""",
            r"must not see column \d+ \(prefix token \d+ of clip 1\)",
        ),
        (  # the text sees its own end
            """
def packed_prefix_mask(clips):
    blocks = []
    for l, S in clips:
        mask = torch.ones(l + S, l + S)
        mask[l:, :l] = 0
        blocks.append(mask)
    return torch.block_diag(*blocks).bool()
""",
            r"row 0 \(text token 0 of clip 0\) must not see column 1 \(text token 1 of clip 0\)",
        ),
        (  # the prefix sees the text
            """
def packed_prefix_mask(clips):
    blocks = []
    for l, S in clips:
        mask = torch.ones(l + S, l + S).tril()
        mask[:, l:] = 1
        blocks.append(mask)
    return torch.block_diag(*blocks).bool()
""",
            r"\(prefix token 0 of clip 0\) must not see column 0 \(text token 0 of clip 0\)",
        ),
        (  # a token does not see itself
            """
def packed_prefix_mask(clips):
    blocks = []
    for l, S in clips:
        mask = torch.ones(l + S, l + S).tril(-1)
        mask[:, l:] = 1
        mask[l:, :l] = 0
        blocks.append(mask)
    return torch.block_diag(*blocks).bool()
""",
            r"row 0 \(text token 0 of clip 0\) must see column 0",
        ),
        (  # causal all through
            """
def packed_prefix_mask(clips):
    return torch.block_diag(*[torch.ones(l + S, l + S).tril() for l, S in clips]).bool()
""",
            r"row 0 \(text token 0 of clip 0\) must see column 3 \(prefix token 0 of clip 0\)",
        ),
        (  # numbers in place of bools
            """
def packed_prefix_mask(clips):
    blocks = []
    for l, S in clips:
        mask = torch.ones(l + S, l + S).tril()
        mask[:, l:], mask[l:, :l] = 1, 0
        blocks.append(mask)
    return torch.block_diag(*blocks)
""",
            r"is of torch\.float32; it should be of torch\.bool",
        ),
    ],
    "07.3": [
        (  # the end counts
            """
def fit_of(logits, ids, end):
    logp = logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0]
    return (logp * (ids >= end)).sum(1)
""",
            r"your sums include the end tokens; only words count",
        ),
        (  # everything counts
            """
def fit_of(logits, ids, end):
    return logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0].sum(1)
""",
            r"your sums include ends and registers",
        ),
        (  # a mean
            """
def fit_of(logits, ids, end):
    logp = logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0]
    words = ids > end
    return (logp * words).sum(1) / words.sum(1).clamp(min=1)
""",
            r"you give means over the words",
        ),
        (  # a loss
            """
def fit_of(logits, ids, end):
    logp = logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0]
    return -(logp * (ids > end)).sum(1)
""",
            r"the sign is wrong",
        ),
        (  # logits as they are
            """
def fit_of(logits, ids, end):
    return (logits.gather(-1, ids[..., None])[..., 0] * (ids > end)).sum(1)
""",
            r"text \d has -?[\d.]+ nats; you say",
        ),
        (  # moved by one: the token after the one that was asked for
            """
def fit_of(logits, ids, end):
    logp = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return (logp * (ids[:, 1:] > end)).sum(1)
""",
            r"text \d has -?[\d.]+ nats; you say",
        ),
        (  # softmax over places
            """
def fit_of(logits, ids, end):
    logp = logits.log_softmax(1).gather(-1, ids[..., None])[..., 0]
    return (logp * (ids > end)).sum(1)
""",
            r"text \d has -?[\d.]+ nats; you say",
        ),
    ],
    "07.4": [
        (  # greedy
            """
def beam_search(next_logp, length, k):
    ids = []
    for _ in range(length):
        ids.append(int(next_logp(ids).argmax()))
    return ids
""",
            r"That is what a single beam finds",
        ),
        (  # the last word's chance alone decides
            """
def beam_search(next_logp, length, k):
    kept = [(0.0, [])]
    for _ in range(length):
        longer = [(lp, [*ids, t]) for _, ids in kept for t, lp in enumerate(next_logp(ids).tolist())]
        kept = sorted(longer, reverse=True)[:k]
    return kept[0][1]
""",
            r"the beams lead to a text of -[\d.]+ nats; yours",
        ),
        (  # k continuations of every beginning, and none is ever dropped
            """
def beam_search(next_logp, length, k):
    kept = [(0.0, [])]
    for _ in range(length):
        longer = []
        for score, ids in kept:
            mine = [(score + lp, [*ids, t]) for t, lp in enumerate(next_logp(ids).tolist())]
            longer += sorted(mine, reverse=True)[:k]
        kept = longer
    return max(kept)[1]
""",
            r"the beams lead to a text of -[\d.]+ nats; yours",
        ),
        (  # one best continuation of each beginning
            """
def beam_search(next_logp, length, k):
    logp = next_logp([])
    kept = [(float(logp[t]), [int(t)]) for t in logp.argsort(descending=True)[:k]]
    for _ in range(length - 1):
        kept = [(s + float(next_logp(i).max()), [*i, int(next_logp(i).argmax())]) for s, i in kept]
    return max(kept)[1]
""",
            r"the beams lead to a text of -[\d.]+ nats; yours",
        ),
        (  # the worst are kept
            """
def beam_search(next_logp, length, k):
    kept = [(0.0, [])]
    for _ in range(length):
        longer = [(s + lp, [*i, t]) for s, i in kept for t, lp in enumerate(next_logp(i).tolist())]
        kept = sorted(longer)[:k]
    return kept[0][1]
""",
            r"for 4 tokens, length 3 and k = 1 the beams lead to",
        ),
        (  # one word too few
            """
def beam_search(next_logp, length, k):
    kept = [(0.0, [])]
    for _ in range(length - 1):
        longer = [(s + lp, [*i, t]) for s, i in kept for t, lp in enumerate(next_logp(i).tolist())]
        kept = sorted(longer, reverse=True)[:k]
    return kept[0][1]
""",
            r"length 3 and k = 1 you return 2 ids",
        ),
    ],
}
