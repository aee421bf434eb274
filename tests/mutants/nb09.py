"""Wrong answers to notebook 09's exercises, and what the checker must say about them."""

MUTANTS: dict[str, list[tuple[str, str]]] = {
    "09.1": [
        (  # an overlap below zero counts
            """
def share_in_square(box, height, width):
    top, left, bottom, right = box
    side = min(height, width)
    first, second = (height - side) // 2, (width - side) // 2
    rows = min(bottom, first + side) - max(top, first)
    columns = min(right, second + side) - max(left, second)
    return rows * columns / ((bottom - top) * (right - left))
""",
            r"0 of its \d+ pixels lie in the middle square, a share of 0\.000; you say -",
        ),
        (  # the square in the upper left corner
            """
def share_in_square(box, height, width):
    top, left, bottom, right = box
    side = min(height, width)
    rows = max(0, min(bottom, side) - top)
    columns = max(0, min(right, side) - left)
    return rows * columns / ((bottom - top) * (right - left))
""",
            r"pixels lie in the middle square, a share of",
        ),
        (  # height and width swapped
            """
def share_in_square(box, height, width):
    top, left, bottom, right = box
    side = min(height, width)
    first, second = (width - side) // 2, (height - side) // 2
    rows = max(0, min(bottom, first + side) - max(top, first))
    columns = max(0, min(right, second + side) - max(left, second))
    return rows * columns / ((bottom - top) * (right - left))
""",
            r"frame of 4x10, \d+ of its \d+ pixels",
        ),
        (  # a share of the square
            """
def share_in_square(box, height, width):
    top, left, bottom, right = box
    side = min(height, width)
    first, second = (height - side) // 2, (width - side) // 2
    rows = max(0, min(bottom, first + side) - max(top, first))
    columns = max(0, min(right, second + side) - max(left, second))
    return rows * columns / side**2
""",
            r"pixels lie in the middle square, a share of",
        ),
        (  # half pixels
            """
def share_in_square(box, height, width):
    top, left, bottom, right = box
    side = min(height, width)
    first, second = (height - side) / 2, (width - side) / 2
    rows = max(0, min(bottom, first + side) - max(top, first))
    columns = max(0, min(right, second + side) - max(left, second))
    return rows * columns / ((bottom - top) * (right - left))
""",
            r"frame of (5x12|13x6), \d+ of its \d+ pixels",
        ),
    ],
    "09.2": [
        (  # ratios in place of their logarithms
            """
def bucket_of(height, width, buckets):
    gaps = [abs(width / height - w / h) for h, w in buckets]
    number = gaps.index(min(gaps))
    h, w = buckets[number]
    scale = max(h / height, w / width)
    return number, 1 - h * w / (scale**2 * height * width)
""",
            r"you choose number \d; the nearest aspect ratio has",
        ),
        (  # nearest area
            """
def bucket_of(height, width, buckets):
    gaps = [abs(height * width - h * w) for h, w in buckets]
    number = gaps.index(min(gaps))
    h, w = buckets[number]
    scale = max(h / height, w / width)
    return number, 1 - h * w / (scale**2 * height * width)
""",
            r"you choose number \d; the nearest aspect ratio has",
        ),
        (  # the share kept
            """
def bucket_of(height, width, buckets):
    gaps = [abs(math.log(width / height) - math.log(w / h)) for h, w in buckets]
    number = gaps.index(min(gaps))
    h, w = buckets[number]
    scale = max(h / height, w / width)
    return number, h * w / (scale**2 * height * width)
""",
            r"that is the share kept",
        ),
        (  # scaled to fit inside, not to cover
            """
def bucket_of(height, width, buckets):
    gaps = [abs(math.log(width / height) - math.log(w / h)) for h, w in buckets]
    number = gaps.index(min(gaps))
    h, w = buckets[number]
    scale = min(h / height, w / width)
    return number, 1 - h * w / (scale**2 * height * width)
""",
            r"the clip loses 0\.\d+ of its area in \d+x\d+; you say",
        ),
        (  # not scaled at all
            """
def bucket_of(height, width, buckets):
    gaps = [abs(math.log(width / height) - math.log(w / h)) for h, w in buckets]
    number = gaps.index(min(gaps))
    h, w = buckets[number]
    return number, max(0.0, 1 - h * w / (height * width))
""",
            r"the clip loses 0\.\d+ of its area in \d+x\d+; you say",
        ),
        (  # height over width for the buckets
            """
def bucket_of(height, width, buckets):
    gaps = [abs(math.log(width / height) - math.log(h / w)) for h, w in buckets]
    number = gaps.index(min(gaps))
    h, w = buckets[number]
    scale = max(h / height, w / width)
    return number, 1 - h * w / (scale**2 * height * width)
""",
            r"you choose number \d; the nearest aspect ratio has",
        ),
    ],
    "09.3": [
        (  # theta itself stretched
            """
def ntk_theta(theta, stretch, pairs):
    return theta * stretch
""",
            r"gives pair 1 the frequency",
        ),
        (  # n where the head's size 2n belongs
            """
def ntk_theta(theta, stretch, pairs):
    return theta * stretch ** (pairs / max(1, pairs - 2))
""",
            r"gives pair \d+ the frequency .* scaled NTK-style it is",
        ),
        (  # the power upside down
            """
def ntk_theta(theta, stretch, pairs):
    return theta * stretch ** ((pairs - 1) / pairs)
""",
            r"gives pair \d+ the frequency",
        ),
        (  # the other way
            """
def ntk_theta(theta, stretch, pairs):
    return theta / stretch ** (pairs / (pairs - 1))
""",
            r"for theta = 100, s = 1\.5 and n = 2 your theta' = ",
        ),
        (  # one power too many
            """
def ntk_theta(theta, stretch, pairs):
    return theta * stretch**pairs
""",
            r"and n = 3 your theta' = ",
        ),
    ],
    "09.4": [
        (  # repeated
            """
def slower_noise(noise, k, generator):
    return noise.repeat_interleave(k, dim=1) / math.sqrt(k)
""",
            r"the variance of frame 0 is 0\.3\d, not 1",
        ),
        (  # repeated at unit variance
            """
def slower_noise(noise, k, generator):
    return noise.repeat_interleave(k, dim=1)
""",
            r"sum to frame 0 times the root of k; yours are off",
        ),
        (  # the mean in place of the sum over the root
            """
def slower_noise(noise, k, generator):
    Z, t, h, w = noise.shape
    fresh = torch.randn(Z, t, k, h, w, generator=generator)
    return (fresh + (noise - fresh.mean(dim=2))[:, :, None]).flatten(1, 2)
""",
            r"sum to frame 0 times the root of k; yours are off",
        ),
        (  # groups interleaved: frame i stands at i, i + t, ...
            """
def slower_noise(noise, k, generator):
    Z, t, h, w = noise.shape
    fresh = torch.randn(Z, k, t, h, w, generator=generator)
    missing = noise - fresh.sum(dim=1) / math.sqrt(k)
    return (fresh + missing[:, None] / math.sqrt(k)).flatten(1, 2)
""",
            r"for 3 frames and k = 2 frames 0 to 1 sum to frame 0",
        ),
        (  # all of what is missing on the first frame of a group
            """
def slower_noise(noise, k, generator):
    Z, t, h, w = noise.shape
    out = torch.randn(Z, t, k, h, w, generator=generator)
    out[:, :, 0] = math.sqrt(k) * noise - out[:, :, 1:].sum(dim=2)
    return out.flatten(1, 2)
""",
            r"the variance of frame 0 is \d",
        ),
        (  # random numbers of its own
            """
def slower_noise(noise, k, generator):
    Z, t, h, w = noise.shape
    fresh = torch.randn(Z, t, k, h, w)
    missing = noise - fresh.sum(dim=2) / math.sqrt(k)
    return (fresh + missing[:, :, None] / math.sqrt(k)).flatten(1, 2)
""",
            r"the same seed gives two results",
        ),
    ],
}
