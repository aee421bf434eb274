"""Wrong answers to notebook 04's exercises, and what the checker must say about them."""

MUTANTS: dict[str, list[tuple[str, str]]] = {
    "04.1": [
        (  # forgets that there are clips
            """
def packed_attention(q, k, v, lengths):
    return (q @ k.T / q.shape[-1] ** 0.5).softmax(-1) @ v
""",
            r"still look into the other clips",
        ),
        (  # no square root
            """
def packed_attention(q, k, v, lengths):
    parts = zip(*(x.split(lengths) for x in (q, k, v)))
    return torch.cat([(a @ b.T / a.shape[-1]).softmax(-1) @ c for a, b, c in parts])
""",
            r"single clip.*not plain attention",
        ),
        (  # softmax over the queries
            """
def packed_attention(q, k, v, lengths):
    parts = zip(*(x.split(lengths) for x in (q, k, v)))
    return torch.cat([(a @ b.T / a.shape[-1] ** 0.5).softmax(0) @ c for a, b, c in parts])
""",
            r"single clip.*not plain attention",
        ),
        (  # zeros the forbidden shares after the softmax
            """
def packed_attention(q, k, v, lengths):
    clip = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    weights = (q @ k.T / q.shape[-1] ** 0.5).softmax(-1)
    return (weights * (clip[:, None] == clip)) @ v
""",
            r"output of token \d+, in clip \d+, is wrong",
        ),
    ],
    "04.2": [
        (  # tiles the frames instead of repeating each
            """
def row_of_token(clips):
    out, first = [], 0
    for text_len, (t, h, w) in clips:
        out += [first] * text_len + list(range(first + 1, first + 1 + t)) * (h * w)
        first += 1 + t
    return torch.tensor(out)
""",
            r"patch \d+ of frame \d+ of clip 0",
        ),
        (  # the text has no row of its own
            """
def row_of_token(clips):
    out, first = [], 0
    for text_len, (t, h, w) in clips:
        out += [first] * text_len
        for frame in range(t):
            out += [first + frame] * (h * w)
        first += t
    return torch.tensor(out)
""",
            r"patch 0 of frame 0 of clip 0",
        ),
        (  # every clip counts from 0
            """
def row_of_token(clips):
    out = []
    for text_len, (t, h, w) in clips:
        out += [0] * text_len
        for frame in range(t):
            out += [1 + frame] * (h * w)
    return torch.tensor(out)
""",
            r"text of clip 1",
        ),
    ],
    "04.3": [
        (  # forgets the tables
            """
def saved_parameters(depth, width):
    return (depth - 1) * 6 * width * (width + 1)
""",
            r"1 block of width 64",
        ),
        (  # forgets the biases
            """
def saved_parameters(depth, width):
    return (depth - 1) * 6 * width * width - depth * 6 * width
""",
            r"2 blocks of width 64.*too few",
        ),
        (  # sign
            """
def saved_parameters(depth, width):
    return depth * 6 * width - (depth - 1) * 6 * width * (width + 1)
""",
            r"1 block of width 64",
        ),
    ],
    "04.4": [
        (  # forgets the weighted values
            """
def crossover(width, hidden):
    return (4 * width * width + 3 * width * hidden) / width
""",
            r"attention still costs more",
        ),
        (  # an MLP of two matrices
            """
def crossover(width, hidden):
    return 2 * width + hidden
""",
            r"attention still costs less",
        ),
    ],
    "04.5": [
        (  # code points instead of bytes
            """
def encode(text, vocabulary):
    ids = []
    for word in text.split():
        ids += [321 + vocabulary.index(word)] if word in vocabulary else [65 + ord(c) for c in word]
    ids += [64] if ids else []
    return ids + list(range((-len(ids)) % 8 if ids else 8))
""",
            r"'héron up'.*a byte",
        ),
        (  # always one register more: a full text gets eight
            """
def encode(text, vocabulary):
    ids = []
    for word in text.split():
        ids += [321 + vocabulary.index(word)] if word in vocabulary else [65 + b for b in word.encode()]
    ids += [64] if ids else []
    return ids + list(range(8 - len(ids) % 8))
""",
            r"a red a red a red a'.*16 ids, and 8 are right",
        ),
        (  # no end token
            """
def encode(text, vocabulary):
    ids = []
    for word in text.split():
        ids += [321 + vocabulary.index(word)] if word in vocabulary else [65 + b for b in word.encode()]
    return ids + list(range((-len(ids)) % 8 if ids else 8))
""",
            r"the end token",
        ),
        (  # registers numbered by place
            """
def encode(text, vocabulary):
    ids = []
    for word in text.split():
        ids += [321 + vocabulary.index(word)] if word in vocabulary else [65 + b for b in word.encode()]
    ids += [64] if ids else []
    length = max(8, -(-len(ids) // 8) * 8)
    return ids + list(range(len(ids), length))
""",
            r"a register",
        ),
    ],
}
