"""Wrong answers to the exercises of notebook 02, as students write them, and what they must be told."""

MUTANTS: dict[str, list[tuple[str, str]]] = {
    "02.1": [
        (
            "def kl(mean, logvar):\n"
            "    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum()\n",
            "averaged over every number",
        ),
        (
            "def kl(mean, logvar):\n"
            "    return 0.5 * (mean.square() + logvar.exp().square() - 1 - 2 * logvar).mean()\n",
            "sigma squared",
        ),
        (
            "def kl(mean, logvar):\n"
            "    return 0.5 * (1 + logvar - mean.square() - logvar.exp()).mean()\n",
            "negative",
        ),
        (
            "def kl(mean, logvar):\n"
            "    return 0.5 * (mean.abs() + logvar.exp() - 1 - logvar).mean()\n",
            "a mean of 2",
        ),
        (
            "def kl(mean, logvar):\n"
            "    return 0.5 * (mean.square() + logvar.exp() - logvar).mean()\n",
            "itself",
        ),
    ],
    "02.2": [
        (
            "def causal_convolution(x, weight):\n"
            "    p = torch.cat([x[:1], x, x[-1:]])\n"
            "    return sum(p[i : i + len(x)] @ weight[i] for i in range(3))\n",
            "looks ahead",
        ),
        (
            "def causal_convolution(x, weight):\n"
            "    p = torch.cat([torch.zeros(2, x.shape[1]), x])\n"
            "    return sum(p[i : i + len(x)] @ weight[i] for i in range(3))\n",
            "zeros stand before",
        ),
        (
            "def causal_convolution(x, weight):\n"
            "    p = torch.cat([x[:1], x[:1], x])\n"
            "    return sum(p[i : i + len(x)] @ weight[2 - i] for i in range(3))\n",
            "in reverse",
        ),
        (
            "def causal_convolution(x, weight):\n"
            "    return sum(x[i : len(x) - 2 + i] @ weight[i] for i in range(3))\n",
            "has shape",
        ),
    ],
    "02.3": [
        (
            "def chunk_lengths(frames, temporal, per_chunk):\n"
            "    n = temporal * per_chunk\n"
            "    return [min(n, frames - i) for i in range(0, frames, n)]\n",
            "first chunk",
        ),
        (
            "def chunk_lengths(frames, temporal, per_chunk):\n"
            "    n = temporal * per_chunk\n"
            "    rest = frames - 1\n"
            "    return [1] + [min(n, rest - i) for i in range(0, rest, n)]\n",
            "latent frames",
        ),
        (
            "def chunk_lengths(frames, temporal, per_chunk):\n"
            "    n = temporal * per_chunk\n"
            "    first = 1 + temporal * (per_chunk - 1)\n"
            "    return [first] + [n] * (-(-(frames - first) // n))\n",
            "frames together",
        ),
    ],
    "02.4": [
        (
            "def latent_statistics(latents):\n"
            "    means = torch.stack([z.flatten(1).mean(1) for z in latents])\n"
            "    stds = torch.stack([z.flatten(1).std(1) for z in latents])\n"
            "    return means.mean(0), stds.mean(0)\n",
            "clips' means",
        ),
        (
            "def latent_statistics(latents):\n"
            "    z = torch.cat([z.flatten(1) for z in latents], dim=1)\n"
            "    return z.mean(1), z.var(1)\n",
            "variance",
        ),
        (
            "def latent_statistics(latents):\n"
            "    z = torch.cat([z.flatten() for z in latents])\n"
            "    return z.mean(), z.std()\n",
            "has shape",
        ),
        (
            "def latent_statistics(latents):\n"
            "    z = torch.cat([z.flatten(1) for z in latents], dim=1)\n"
            "    stds = torch.stack([z.flatten(1).std(1) for z in latents])\n"
            "    return z.mean(1), stds.mean(0)\n",
            "deviation of channel 0",
        ),
    ],
    "02.5": [
        (
            "def join_tiles(left, right, overlap):\n"
            "    w = torch.arange(overlap) / overlap\n"
            "    mix = left[:, -overlap:] * (1 - w) + right[:, :overlap] * w\n"
            "    return torch.cat([left[:, :-overlap], mix, right[:, overlap:]], 1)\n",
            "should weigh",
        ),
        (
            "def join_tiles(left, right, overlap):\n"
            "    w = (torch.arange(overlap) + 0.5) / overlap\n"
            "    mix = left[:, -overlap:] * w + right[:, :overlap] * (1 - w)\n"
            "    return torch.cat([left[:, :-overlap], mix, right[:, overlap:]], 1)\n",
            "fades out",
        ),
        (
            "def join_tiles(left, right, overlap):\n    return torch.cat([left, right], 1)\n",
            "has shape",
        ),
        (
            "def join_tiles(left, right, overlap):\n"
            "    mix = left[:, -overlap:] + right[:, :overlap]\n"
            "    return torch.cat([left[:, :-overlap], mix, right[:, overlap:]], 1)\n",
            "sum to 1",
        ),
        (
            "def join_tiles(left, right, overlap):\n"
            "    mix = (left[:, -overlap:] + right[:, :overlap]) / 2\n"
            "    return torch.cat([left[:, :-overlap], mix, right[:, overlap:]], 1)\n",
            "should weigh",
        ),
    ],
}
