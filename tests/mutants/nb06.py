"""Wrong answers to notebook 06's exercises, and what the checker must say about them."""

MUTANTS: dict[str, list[tuple[str, str]]] = {
    "06.1": [
        (  # the mask upside down
            """
def given_schedule(times, given):
    return torch.where(given, times[:, None, None], 0.0)
""",
            r"frame 0 of clip 0 is (given|wanted), but its level in row",
        ),
        (  # one mask for the whole batch
            """
def given_schedule(times, given):
    return torch.where(given[0], 0.0, times[:, None])
""",
            r"has shape \(2, 2\); it should be \(2, 1, 2\)",
        ),
        (  # clips before steps
            """
def given_schedule(times, given):
    return torch.where(given[:, None], 0.0, times[None, :, None])
""",
            r"has shape \(1, 2, 2\); it should be \(2, 1, 2\)",
        ),
        (  # given only at the start
            """
def given_schedule(times, given):
    table = times[:, None, None].repeat(1, *given.shape)
    table[0][given] = 0.0
    return table
""",
            r"is given, but its level in row [1-9]",
        ),
    ],
    "06.2": [
        (  # the Euler step
            """
def midpoint_step(denoise, z, t, s):
    return z + (s - t) * (z - denoise(z, t)) / t
""",
            r"asked the denoiser 1 times",
        ),
        (  # Heun: asks at the end
            """
def midpoint_step(denoise, z, t, s):
    v = (z - denoise(z, t)) / t
    end = z + (s - t) * v
    return z + (s - t) * (v + (end - denoise(end, s)) / max(s, 1e-3)) / 2
""",
            r"asked the denoiser at levels 1 and 0.5",
        ),
        (  # goes on from the middle
            """
def midpoint_step(denoise, z, t, s):
    m = (t + s) / 2
    middle = z + (m - t) * (z - denoise(z, t)) / t
    return middle + (s - m) * (middle - denoise(middle, m)) / m
""",
            r"old velocity for its first half",
        ),
        (  # divides by the wrong level
            """
def midpoint_step(denoise, z, t, s):
    m = (t + s) / 2
    middle = z + (m - t) * (z - denoise(z, t)) / t
    return z + (s - t) * (middle - denoise(middle, m)) / t
""",
            r"away from the midpoint step",
        ),
    ],
    "06.3": [
        (  # asks once more, at level 0
            """
def passes(times, heun, scale, interval):
    asked = times if not heun else [x for pair in zip(times, times[1:]) for x in pair]
    return sum(1 + (scale != 1 and interval[0] <= t <= interval[1]) for t in asked)
""",
            r"one call a step, 1 steps .* you count 2, and 1 pass went",
        ),
        (  # guides at scale 1
            """
def passes(times, heun, scale, interval):
    asked = times[:-1] + (times[1:-1] if heun else [])
    return sum(1 + (interval[0] <= t <= interval[1]) for t in asked)
""",
            r"scale 1, interval .* you count 2, and 1 pass went",
        ),
        (  # the interval without its ends
            """
def passes(times, heun, scale, interval):
    asked = times[:-1] + (times[1:-1] if heun else [])
    return sum(1 + (scale != 1 and interval[0] < t < interval[1]) for t in asked)
""",
            r"scale 3, interval .* you count 1, and 2 passes went",
        ),
        (  # twice in every step of Heun
            """
def passes(times, heun, scale, interval):
    asked = times[:-1] * (2 if heun else 1)
    return sum(1 + (scale != 1 and interval[0] <= t <= interval[1]) for t in asked)
""",
            r"Heun, 1 steps",
        ),
    ],
    "06.4": [
        (  # shares that sum to one, not their squares
            """
def noisy_step(z, x_hat, t, s, eta, eps):
    guessed = x_hat + (z - x_hat) / t
    return (1 - s) * x_hat + s * ((1 - eta) * guessed + eta * eps)
""",
            r"do the squares of the two shares",
        ),
        (  # the velocity in place of the noise
            """
def noisy_step(z, x_hat, t, s, eta, eps):
    guessed = (z - x_hat) / t
    return (1 - s) * x_hat + s * ((1 - eta**2) ** 0.5 * guessed + eta * eps)
""",
            r"eta = 0 should be Euler's step",
        ),
        (  # noise on top of Euler's step
            """
def noisy_step(z, x_hat, t, s, eta, eps):
    return x_hat + s / t * (z - x_hat) + s * eta * eps
""",
            r"eta = 1 should replace all noise",
        ),
        (  # forgets that less of the data is left
            """
def noisy_step(z, x_hat, t, s, eta, eps):
    guessed = x_hat + (z - x_hat) / t
    return x_hat + s * ((1 - eta**2) ** 0.5 * guessed + eta * eps)
""",
            r"eta = 0 should be Euler's step",
        ),
    ],
    "06.5": [
        (  # one standard deviation for the whole batch
            """
def rescaled_guide(x_cond, x_empty, scale, phi):
    guided = x_empty + scale * (x_cond - x_empty)
    return guided * (phi * x_cond.std() / guided.std() + 1 - phi)
""",
            r"phi 1, clip 0 the standard deviation should be",
        ),
        (  # the mix the wrong way round
            """
def rescaled_guide(x_cond, x_empty, scale, phi):
    guided = x_empty + scale * (x_cond - x_empty)
    dims = (1, 2, 3, 4)
    scaled = guided * x_cond.std(dims, keepdim=True) / guided.std(dims, keepdim=True)
    return (1 - phi) * scaled + phi * guided
""",
            r"phi 0, clip 0 the plain guided guess should come back",
        ),
        (  # moves the mean away
            """
def rescaled_guide(x_cond, x_empty, scale, phi):
    guided = x_empty + scale * (x_cond - x_empty)
    dims = (1, 2, 3, 4)
    moved = guided - guided.mean(dims, keepdim=True)
    scaled = moved * x_cond.std(dims, keepdim=True) / guided.std(dims, keepdim=True)
    return phi * scaled + (1 - phi) * guided
""",
            r"reached by multiplying alone",
        ),
        (  # the contrast of the unprompted guess
            """
def rescaled_guide(x_cond, x_empty, scale, phi):
    guided = x_empty + scale * (x_cond - x_empty)
    dims = (1, 2, 3, 4)
    scaled = guided * x_empty.std(dims, keepdim=True) / guided.std(dims, keepdim=True)
    return phi * scaled + (1 - phi) * guided
""",
            r"the standard deviation should be that of its prompted guess",
        ),
    ],
}
