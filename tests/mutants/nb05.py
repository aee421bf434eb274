"""Wrong answers to the exercises of notebook 05, and what the checker must say of each."""

MUTANTS: dict[str, list[tuple[str, str]]] = {
    "05.1": [
        (
            "def from_ddpm(alpha_bar):\n"
            "    a, b = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()\n"
            "    return a / (a + b), 1 / (a + b)\n",
            "factor of x",
        ),
        (
            "def from_ddpm(alpha_bar):\n"
            "    a, b = alpha_bar, 1 - alpha_bar\n"
            "    return b / (a + b), 1 / (a + b)\n",
            "sum to 1",
        ),
        (
            "def from_ddpm(alpha_bar):\n"
            "    a, b = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()\n"
            "    return b / (a + b)\n",
            "two tensors",
        ),
    ],
    "05.2": [
        (
            "def clean_from_score(z, score, levels):\n"
            "    t = levels[:, None, :, None, None]\n"
            "    return z + t**2 * score\n",
            "less than a whole x",
        ),
        (
            "def clean_from_score(z, score, levels):\n"
            "    t = levels[:, None, :, None, None]\n"
            "    return (z - t**2 * score) / (1 - t)\n",
            "sign",
        ),
        (
            "def clean_from_score(z, score, levels):\n"
            "    t = levels[:, None, :, None, None]\n"
            "    return (z + t * score) / (1 - t)\n",
            "factor between them",
        ),
    ],
    "05.3": [
        (
            "import torch\n"
            "def given_levels(t, prefix, suffix, frames):\n"
            "    i = torch.arange(frames)\n"
            "    given = (i <= prefix[:, None]) | (i >= frames - suffix[:, None])\n"
            "    return t[:, None].expand(-1, frames).masked_fill(given, 0.0)\n",
            "you give",
        ),
        (
            "import torch\n"
            "def given_levels(t, prefix, suffix, frames):\n"
            "    i = torch.arange(frames)\n"
            "    given = (i < prefix[:, None]) | (i >= frames - 1 - suffix[:, None])\n"
            "    return t[:, None].expand(-1, frames).masked_fill(given, 0.0)\n",
            "suffix",
        ),
        (
            "import torch\n"
            "def given_levels(t, prefix, suffix, frames):\n"
            "    i = torch.arange(frames)\n"
            "    given = (i < prefix[:, None]) | (i >= frames - suffix[:, None])\n"
            "    return t[:, None] * given\n",
            "you give",
        ),
    ],
    "05.4": [
        (
            "def min_snr_weight(t, gamma):\n"
            "    return (((1 - t) / t.clamp(min=1e-6)) ** 2).clamp(max=gamma)\n",
            "on the error of x",
        ),
        (
            "def min_snr_weight(t, gamma):\n"
            "    return ((1 - t) / t.clamp(min=1e-6)).clamp(max=gamma) * t**2\n",
            "the square of the ratio",
        ),
        (
            "def min_snr_weight(t, gamma):\n"
            "    return (((1 - t) / t.clamp(min=1e-6)) ** 2).clamp(max=gamma) / t.clamp(min=1e-6) ** 2\n",
            "must count",
        ),
        (
            "def min_snr_weight(t, gamma):\n"
            "    return (((1 - t) / t.clamp(min=1e-6)) ** 2).clamp(min=gamma) * t**2\n",
            "clamp at the other side",
        ),
    ],
    "05.5": [
        (
            "import torch\n"
            "def memorizer(z, t, data):\n"
            "    away = (z[:, None] - data).square().sum(-1)\n"
            "    return torch.softmax(-away / (2 * t**2), 1) @ data\n",
            "t = 1",
        ),
        (
            "import torch\n"
            "def memorizer(z, t, data):\n"
            "    away = (z[:, None] - (1 - t)[..., None] * data).square().sum(-1)\n"
            "    return torch.softmax(-away / (2 * t), 1) @ data\n",
            "you say",
        ),
        (
            "import torch\n"
            "def memorizer(z, t, data):\n"
            "    away = (z[:, None] - (1 - t)[..., None] * data).square().sum(-1)\n"
            "    w = torch.exp(-away / (2 * t**2))\n"
            "    return w @ data / w.sum(1, keepdim=True)\n",
            "finite",
        ),
    ],
}
