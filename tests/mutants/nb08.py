"""Wrong answers to notebook 08's exercises, and what the checker must say about them."""

MUTANTS: dict[str, list[tuple[str, str]]] = {
    "08.1": [
        (  # each group for itself, whatever came before it
            """
def exact_latents(known):
    groups = torch.cat([known[:1].expand(4), known[1:]]).view(-1, 4)
    return groups.all(dim=1)
""",
            r"you call latent frame \d exact, but it depends on frame \d+, which is unknown",
        ),
        (  # one known frame is enough
            """
def exact_latents(known):
    groups = torch.cat([known[:1].expand(4), known[1:]]).view(-1, 4)
    return groups.any(dim=1).long().cumprod(dim=0).bool()
""",
            r"which is unknown",
        ),
        (  # groups of four from the first frame on
            """
def exact_latents(known):
    return known.long().cumprod(dim=0)[:-1:4].bool()
""",
            r"has shape \(0,\); it should be \(1,\)",
        ),
        (  # asks for the first frame of a group, not its last
            """
def exact_latents(known):
    run = known.long().cumprod(dim=0).bool()
    return torch.cat([run[:1], run[1::4]])
""",
            r"you call latent frame [1-9] exact, but it depends on frame",
        ),
        (  # asks for one frame too many
            """
def exact_latents(known):
    run = known.long().cumprod(dim=0).bool()
    return torch.cat([run, run[-1:]])[1::4]
""",
            r"all frames up to \d+ are known, so latent frame \d is exact",
        ),
    ],
    "08.2": [
        (  # scales the shifted levels
            """
def respaced(steps, strength, a):
    u = torch.linspace(1, 0, steps + 1)
    return strength * a * u / (1 + (a - 1) * u)
""",
            r"even spacing from",
        ),
        (  # takes the strength for u
            """
def respaced(steps, strength, a):
    u = torch.linspace(strength, 0, steps + 1)
    return a * u / (1 + (a - 1) * u)
""",
            r"they should run from 0\.8 to 0",
        ),
        (  # even after the shift
            """
def respaced(steps, strength, a):
    return torch.linspace(strength, 0, steps + 1)
""",
            r"level 1 is .* even spacing from",
        ),
        (  # counts levels, not steps
            """
def respaced(steps, strength, a):
    u = torch.linspace(strength / (a - (a - 1) * strength), 0, steps)
    return a * u / (1 + (a - 1) * u)
""",
            r"has shape \(1,\); it should be \(2,\)",
        ),
        (  # drops the levels above
            """
def respaced(steps, strength, a):
    u = torch.linspace(1, 0, steps + 1)
    times = a * u / (1 + (a - 1) * u)
    return torch.cat([torch.tensor([strength]), times[times < strength]])
""",
            r"level 1 is .* even spacing from",
        ),
    ],
    "08.3": [
        (  # the whole closing step
            """
def seam(path):
    before, after = path[-1] - path[-2], path[1] - path[0]
    return (path[0] - path[-1]).norm().item(), (after - before).norm().item()
""",
            r"that is the whole closing step",
        ),
        (  # sum in place of mean
            """
def seam(path):
    before, after = path[-1] - path[-2], path[1] - path[0]
    miss = path[0] - path[-1] - (before + after)
    return miss.norm().item(), (after - before).norm().item()
""",
            r"misses the mean of its neighbors by",
        ),
        (  # difference of speeds, not of velocities
            """
def seam(path):
    before, after = path[-1] - path[-2], path[1] - path[0]
    miss = path[0] - path[-1] - (before + after) / 2
    return miss.norm().item(), (after.norm() - before.norm()).abs().item()
""",
            r"the steps before and after the seam differ by",
        ),
        (  # the step before the seam the wrong way round
            """
def seam(path):
    before, after = path[-2] - path[-1], path[1] - path[0]
    miss = path[0] - path[-1] - (before + after) / 2
    return miss.norm().item(), (after - before).norm().item()
""",
            r"a circle of 12 frames the closing step misses",
        ),
        (  # one figure only
            """
def seam(path):
    before, after = path[-1] - path[-2], path[1] - path[0]
    return (path[0] - path[-1] - (before + after) / 2).norm().item()
""",
            r"not a pair of two lengths",
        ),
    ],
    "08.4": [
        (  # in the upper left corner
            """
def widen(video, height, width):
    h, w = video.shape[2:]
    wide = video.new_zeros(*video.shape[:2], height, width)
    known = torch.zeros(height, width, dtype=torch.bool)
    wide[:, :, :h, :w], known[:h, :w] = video, True
    return wide, known
""",
            r"the mask says True at row 0, column 0; that pixel is of the margin",
        ),
        (  # true where pixels are wanted
            """
def widen(video, height, width):
    h, w = video.shape[2:]
    top, left = (height - h) // 2, (width - w) // 2
    wide = video.new_zeros(*video.shape[:2], height, width)
    known = torch.ones(height, width, dtype=torch.bool)
    wide[:, :, top:top + h, left:left + w] = video
    known[top:top + h, left:left + w] = False
    return wide, known
""",
            r"the mask says True at row 0, column 0",
        ),
        (  # the spare pixel on the wrong side
            """
def widen(video, height, width):
    h, w = video.shape[2:]
    top, left = (height - h + 1) // 2, (width - w + 1) // 2
    wide = video.new_zeros(*video.shape[:2], height, width)
    known = torch.zeros(height, width, dtype=torch.bool)
    wide[:, :, top:top + h, left:left + w] = video
    known[top:top + h, left:left + w] = True
    return wide, known
""",
            r"4x6 in a frame of 4x11 the mask says False at row 0, column 2",
        ),
        (  # margins that stay gray
            """
def widen(video, height, width):
    h, w = video.shape[2:]
    top, left = (height - h) // 2, (width - w) // 2
    wide = torch.full((*video.shape[:2], height, width), 0.5)
    known = torch.zeros(height, width, dtype=torch.bool)
    wide[:, :, top:top + h, left:left + w] = video
    known[top:top + h, left:left + w] = True
    return wide, known
""",
            r"row 0, column 0 of the video should be black",
        ),
        (  # width before height
            """
def widen(video, height, width):
    h, w = video.shape[2:]
    top, left = (height - h) // 2, (width - w) // 2
    wide = video.new_zeros(*video.shape[:2], width, height)
    known = torch.zeros(width, height, dtype=torch.bool)
    wide[:, :, left:left + h, top:top + w] = video
    known[left:left + h, top:top + w] = True
    return wide, known
""",
            r"has shape|mask says|stopped",
        ),
    ],
    "08.5": [
        (  # all frames of a window count the same
            """
def blend(guesses, starts, length):
    z, n, h, w = guesses[0].shape
    total = guesses[0].new_zeros(z, length, h, w)
    count = guesses[0].new_zeros(length)
    for guess, start in zip(guesses, starts):
        total[:, start:start + n] += guess
        count[start:start + n] += 1
    return total / count[:, None, None]
""",
            r"all windows count the same; their weights are",
        ),
        (  # the last window wins
            """
def blend(guesses, starts, length):
    z, n, h, w = guesses[0].shape
    total = guesses[0].new_zeros(z, length, h, w)
    for guess, start in zip(guesses, starts):
        total[:, start:start + n] = guess
    return total
""",
            r"2 windows with weights \[.*\] should be averaged",
        ),
        (  # weights that are never scaled
            """
def blend(guesses, starts, length):
    z, n, h, w = guesses[0].shape
    total = guesses[0].new_zeros(z, length, h, w)
    place = torch.arange(n)
    weight = torch.minimum(place + 1, n - place)[:, None, None]
    for guess, start in zip(guesses, starts):
        total[:, start:start + n] += weight * guess
    return total
""",
            r"only one window holds it, so its guess should come back as it is",
        ),
        (  # weights of zero at a window's ends
            """
def blend(guesses, starts, length):
    z, n, h, w = guesses[0].shape
    total, weights = guesses[0].new_zeros(z, length, h, w), guesses[0].new_zeros(length)
    place = torch.arange(n)
    weight = torch.minimum(place, n - 1 - place)
    for guess, start in zip(guesses, starts):
        total[:, start:start + n] += weight[:, None, None] * guess
        weights[start:start + n] += weight
    return total / weights[:, None, None]
""",
            r"not finite",
        ),
        (  # heaviest at its ends
            """
def blend(guesses, starts, length):
    z, n, h, w = guesses[0].shape
    total, weights = guesses[0].new_zeros(z, length, h, w), guesses[0].new_zeros(length)
    place = torch.arange(n)
    weight = torch.maximum(place + 1, n - place)
    for guess, start in zip(guesses, starts):
        total[:, start:start + n] += weight[:, None, None] * guess
        weights[start:start + n] += weight
    return total / weights[:, None, None]
""",
            r"windows with weights \[.*\] should be averaged; you are",
        ),
    ],
}
