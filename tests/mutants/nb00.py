"""Wrong answers to the exercises of notebook 00, as students write them, and what they must be told."""

MUTANTS: dict[str, list[tuple[str, str]]] = {
    "00.1": [
        (
            "def latent_shape(frames, height, width):\n"
            "    return 8, frames // 4, height // 8, width // 8\n",
            r"A clip of 1x64x64: t = 0 is too small",
        ),
        (
            "def latent_shape(frames, height, width):\n"
            "    return 8, 1 + frames // 2, height // 8, width // 8\n",
            "t = 3 is too large",
        ),
        (
            "def latent_shape(frames, height, width):\n"
            "    return 8, 1 + (frames - 1) // 4, width // 8, height // 8\n",
            "h = 12 is too large",
        ),
        (
            "def latent_shape(frames, height, width):\n"
            "    return 8, 1 + (frames - 1) / 4, height / 8, width / 8\n",
            "type int",
        ),
        (
            "def latent_shape(frames, height, width):\n"
            "    return 1 + (frames - 1) // 4, height // 8, width // 8\n",
            "four whole numbers",
        ),
    ],
    "00.2": [
        (
            "def count_tokens(frames, height, width):\n"
            "    return (1 + (frames - 1) // 4) * (height // 8) * (width // 8)\n",
            "not the patches",
        ),
        (
            "def count_tokens(frames, height, width):\n"
            "    return (1 + (frames - 1) // 4) * (height // 8) * (width // 8) // 8\n",
            "too few",
        ),
        (
            "def count_tokens(frames, height, width):\n"
            "    return frames * (height // 16) * (width // 16)\n",
            "too many",
        ),
    ],
    "00.3": [
        (
            "def euler_step(z, x_hat, t, s):\n"
            "    v = (z - x_hat) / t\n"
            "    return v, z + (t - s) * v\n",
            "towards the noise",
        ),
        (
            "def euler_step(z, x_hat, t, s):\n"
            "    v = (x_hat - z) / t\n"
            "    return v, z + (t - s) * v\n",
            "points to the data",
        ),
        (
            "def euler_step(z, x_hat, t, s):\n"
            "    v = (z - x_hat) / t\n"
            "    return z + (s - t) * v, v\n",
            "swapped",
        ),
        (
            "def euler_step(z, x_hat, t, s):\n    v = z - x_hat\n    return v, z + (s - t) * v\n",
            "off by up to",
        ),
        (
            "def euler_step(z, x_hat, t, s):\n"
            "    v = (z - x_hat) / t\n"
            "    return v, x_hat + (s - t) * v\n",
            "not on its level",
        ),
    ],
}
