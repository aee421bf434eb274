"""Wrong answers to the exercises of notebook 03, and what their checkers have to say about them."""

from __future__ import annotations

MUTANTS: dict[str, list[tuple[str, str]]] = {
    "03.1": [
        (  # forgets that the first frame stands alone
            "def count_tokens(frames, height, width):\n"
            "    return (frames // 4) * (height // 16) * (width // 16)\n",
            r"single frame, is one latent frame",
        ),
        (  # forgets the patch
            "def count_tokens(frames, height, width):\n"
            "    return (1 + (frames - 1) // 4) * (height // 8) * (width // 8)\n",
            r"four times too many: did you leave out the patch",
        ),
        (  # a float
            "def count_tokens(frames, height, width):\n"
            "    return (1 + (frames - 1) / 4) * (height / 16) * (width / 16)\n",
            r"not an int",
        ),
        (  # frames are not compressed in time
            "def count_tokens(frames, height, width):\n"
            "    return frames * (height // 16) * (width // 16)\n",
            r"17x64x64 \(frames, height, width\) has 80 tokens, you count 272",
        ),
    ],
    "03.2": [
        (  # time runs fastest
            "def place(index, grid):\n"
            "    t, h, w = grid\n"
            "    return index % t, index // t % h, index // (t * h)\n",
            r"stands at \(0, 0, 1\), you say \(1, 0, 0\)\. Which axis runs fastest",
        ),
        (  # divides by the height where the width belongs: right on squares only
            "def place(index, grid):\n"
            "    t, h, w = grid\n"
            "    frame, rest = divmod(index, h * w)\n"
            "    return frame, *divmod(rest, h)\n",
            r"in a grid \(1, 4, 5\) token 4 stands at \(0, 0, 4\)",
        ),
        (  # does not take whole frames out of the row
            "def place(index, grid):\n"
            "    t, h, w = grid\n"
            "    return index // (h * w), index // w, index % w\n",
            r"outside the grid",
        ),
    ],
    "03.3": [
        (  # turns the other way
            "def rotate_halves(x, positions, theta):\n"
            "    d = x.shape[1]\n"
            "    angle = positions[:, None] * theta ** -(torch.arange(0, d, 2) / d)\n"
            "    a, b = x.chunk(2, dim=-1)\n"
            "    c, s = angle.cos(), angle.sin()\n"
            "    return torch.cat([a * c + b * s, b * c - a * s], dim=-1)\n",
            r"wrong way round",
        ),
        (  # pairs of neighbors
            "def rotate_halves(x, positions, theta):\n"
            "    d = x.shape[1]\n"
            "    angle = positions[:, None] * theta ** -(torch.arange(0, d, 2) / d)\n"
            "    a, b = x[:, 0::2], x[:, 1::2]\n"
            "    c, s = angle.cos(), angle.sin()\n"
            "    return torch.stack([a * c - b * s, b * c + a * s], dim=-1).flatten(-2)\n",
            r"you turn neighbors",
        ),
        (  # forgot a sign: no rotation at all
            "def rotate_halves(x, positions, theta):\n"
            "    d = x.shape[1]\n"
            "    angle = positions[:, None] * theta ** -(torch.arange(0, d, 2) / d)\n"
            "    a, b = x.chunk(2, dim=-1)\n"
            "    c, s = angle.cos(), angle.sin()\n"
            "    return torch.cat([a * c + b * s, b * c + a * s], dim=-1)\n",
            r"never changes a length",
        ),
        (  # exponent i / d in place of 2 i / d
            "def rotate_halves(x, positions, theta):\n"
            "    d = x.shape[1]\n"
            "    angle = positions[:, None] * theta ** -(torch.arange(d // 2) / d)\n"
            "    a, b = x.chunk(2, dim=-1)\n"
            "    c, s = angle.cos(), angle.sin()\n"
            "    return torch.cat([a * c - b * s, b * c + a * s], dim=-1)\n",
            r"angles or the pairs are wrong",
        ),
    ],
    "03.4": [
        (  # causal by token, not by frame
            "def frame_causal_mask(grids):\n"
            "    n = torch.tensor([t * h * w for t, h, w in grids])\n"
            "    clip = torch.arange(len(grids)).repeat_interleave(n)\n"
            "    return (clip[:, None] == clip[None]).tril()\n",
            r"may look at a key in frame 0 of clip 0: they share a frame",
        ),
        (  # query and key swapped: looks into the future
            "def frame_causal_mask(grids):\n"
            "    clip, frame = [], []\n"
            "    for c, (t, h, w) in enumerate(grids):\n"
            "        clip += [c] * (t * h * w)\n"
            "        frame += [k for k in range(t) for _ in range(h * w)]\n"
            "    clip, frame = torch.tensor(clip), torch.tensor(frame)\n"
            "    return (clip[:, None] == clip[None]) & (frame[:, None] <= frame[None])\n",
            r"may not look at a key in frame 1 of clip 0: the key's frame is later",
        ),
        (  # forgets the clips
            "def frame_causal_mask(grids):\n"
            "    frame = torch.tensor([k for t, h, w in grids for k in range(t) for _ in range(h * w)])\n"
            "    return frame[:, None] >= frame[None]\n",
            r"may not look .* different clips",
        ),
    ],
    "03.5": [
        (  # looks at the last sequence only (next fit)
            "def first_fit(lengths, capacity):\n"
            "    sequences, left = [], 0\n"
            "    for i, n in enumerate(lengths):\n"
            "        if not sequences or left < n:\n"
            "            sequences.append([])\n"
            "            left = capacity\n"
            "        sequences[-1].append(i)\n"
            "        left -= n\n"
            "    return sequences\n",
            r"belongs in sequence 0, the first with room",
        ),
        (  # a sequence that would be filled exactly is refused
            "def first_fit(lengths, capacity):\n"
            "    sequences, left = [], []\n"
            "    for i, n in enumerate(lengths):\n"
            "        for s in range(len(sequences)):\n"
            "            if left[s] > n:\n"
            "                sequences[s].append(i)\n"
            "                left[s] -= n\n"
            "                break\n"
            "        else:\n"
            "            sequences.append([i])\n"
            "            left.append(capacity - n)\n"
            "    return sequences\n",
            r"the first with room",
        ),
        (  # returns lengths, not indices
            "def first_fit(lengths, capacity):\n"
            "    sequences = []\n"
            "    for n in lengths:\n"
            "        for sequence in sequences:\n"
            "            if sum(sequence) + n <= capacity:\n"
            "                sequence.append(n)\n"
            "                break\n"
            "        else:\n"
            "            sequences.append([n])\n"
            "    return sequences\n",
            r"every clip index has to stand exactly once",
        ),
        (  # forgets to use up the room
            "def first_fit(lengths, capacity):\n"
            "    sequences = [[]]\n"
            "    for i, n in enumerate(lengths):\n"
            "        if n > capacity:\n"
            "            sequences.append([])\n"
            "        sequences[-1].append(i)\n"
            "    return sequences\n",
            r"holds 9 tokens, too many",
        ),
    ],
}
