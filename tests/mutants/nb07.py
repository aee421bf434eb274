"""Wrong answers to notebook 07's exercises, and what the checker must say about them."""

MUTANTS: dict[str, list[tuple[str, str]]] = {
    "07.1": [
        (  # the blend is the share of originals
            """
def blend(originals, synthetics, u, share):
    pairs = zip(originals, synthetics, u.tolist())
    return [old if old and x < share else new for old, new, x in pairs]
""",
            r"drew u = 0\.\d+, so its caption is",
        ),
        (  # clips without an original get an empty caption
            """
def blend(originals, synthetics, u, share):
    pairs = zip(originals, synthetics, u.tolist())
    return [new if x < share else old for old, new, x in pairs]
""",
            r"has no original, so its caption is 'new \d+'; you say ''",
        ),
        (  # one draw for the whole batch
            """
def blend(originals, synthetics, u, share):
    if u[0] < share:
        return synthetics
    return [old or new for old, new in zip(originals, synthetics)]
""",
            r"clip \d+ drew u = 0\.\d+, so its caption is 'new",
        ),
        (  # at a blend of 0 some are new
            """
def blend(originals, synthetics, u, share):
    pairs = zip(originals, synthetics, u.tolist())
    return [new if x <= share or not old else old for old, new, x in pairs]
""",
            r"drew u = 0\.\d+, so its caption is 'old",
        ),
        (  # those without an original are dropped
            """
def blend(originals, synthetics, u, share):
    pairs = zip(originals, synthetics, u.tolist())
    return [new if x < share else old for old, new, x in pairs if old]
""",
            r"a list of \d+ captions is due",
        ),
    ],
    "07.2": [
        (  # registers count
            """
def caption_loss(logits, ids, end_id):
    return F.cross_entropy(logits.flatten(0, 1), ids.flatten())
""",
            r"which counts registers, too",
        ),
        (  # the end does not count
            """
def caption_loss(logits, ids, end_id):
    real = ids > end_id
    return F.cross_entropy(logits[real], ids[real])
""",
            r"leaves the end out",
        ),
        (  # a mean of means
            """
def caption_loss(logits, ids, end_id):
    each = F.cross_entropy(logits.mT, ids, reduction="none") * (ids >= end_id)
    return (each.sum(1) / (ids >= end_id).sum(1)).mean()
""",
            r"the mean over texts",
        ),
        (  # shifted twice
            """
def caption_loss(logits, ids, end_id):
    logits, ids = logits[:, :-1], ids[:, 1:]
    real = ids >= end_id
    return F.cross_entropy(logits[real], ids[real])
""",
            r"Which logits belong to which id\?",
        ),
        (  # a sum
            """
def caption_loss(logits, ids, end_id):
    real = ids >= end_id
    return F.cross_entropy(logits[real], ids[real], reduction="sum")
""",
            r"that is a sum",
        ),
        (  # one number a text
            """
def caption_loss(logits, ids, end_id):
    return F.cross_entropy(logits.mT, ids, reduction="none").mean(1)
""",
            r"has shape \(3,\); it should be \(\)",
        ),
    ],
    "07.3": [
        (  # every word that stands somewhere in a sentence
            """
def allowed(sentences, written):
    return {word for line in sentences for word in line} | {""}
""",
            r"you allow '.+', which leads to no sentence",
        ),
        (  # never an end
            """
def allowed(sentences, written):
    n = len(written)
    return {line[n] for line in sentences if line[:n] == written and len(line) > n}
""",
            r"the end may come next",
        ),
        (  # the word at that place of any sentence
            """
def allowed(sentences, written):
    n = len(written)
    return {line[n] if len(line) > n else "" for line in sentences if len(line) >= n}
""",
            r"which leads to no sentence|no sentence ends",
        ),
        (  # only the first sentence that fits
            """
def allowed(sentences, written):
    n = len(written)
    for line in sentences:
        if line[:n] == written:
            return {line[n] if len(line) > n else ""}
    return set()
""",
            r"may come next, and your answer leaves it out",
        ),
        (  # a list
            """
def allowed(sentences, written):
    n = len(written)
    return [line[n] if len(line) > n else "" for line in sentences if line[:n] == written]
""",
            r"you return list, not a set",
        ),
    ],
    "07.4": [
        (  # probabilities mixed
            """
def guided_words(seeing, blind, gamma):
    mixed = gamma * seeing.softmax(-1) + (1 - gamma) * blind.softmax(-1)
    return mixed.clamp(min=1e-9).log()
""",
            r"probabilities are mixed|sum to",
        ),
        (  # the wrong way round
            """
def guided_words(seeing, blind, gamma):
    return (seeing + gamma * (blind - seeing)).log_softmax(-1)
""",
            r"should be the captioner's",
        ),
        (  # not scaled
            """
def guided_words(seeing, blind, gamma):
    a, b = seeing.log_softmax(-1), blind.log_softmax(-1)
    return b + gamma * (a - b)
""",
            r"the probabilities sum to \d+\.\d+; scale them",
        ),
        (  # the blind model never counts
            """
def guided_words(seeing, blind, gamma):
    return (gamma * seeing).log_softmax(-1)
""",
            r"should be those of the blind model",
        ),
        (  # probabilities instead of their logarithms
            """
def guided_words(seeing, blind, gamma):
    return (blind + gamma * (seeing - blind)).softmax(-1)
""",
            r"the probabilities sum to \d+\.\d+; scale them",
        ),
    ],
}
