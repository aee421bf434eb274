"""Wrong answers to the exercises of notebook 01, as students write them, and what they must be told."""

MUTANTS: dict[str, list[tuple[str, str]]] = {
    "01.1": [
        (
            "def to_pixels(video):\n"
            "    return (video * 255).round().to(torch.uint8).permute(1, 2, 3, 0)\n",
            r"outside \[0, 1\]",
        ),
        (
            "def to_pixels(video):\n"
            "    return (video.clamp(0, 1) * 255).to(torch.uint8).permute(1, 2, 3, 0)\n",
            "nearest level",
        ),
        (
            "def to_pixels(video):\n"
            "    _, t, h, w = video.shape\n"
            "    return (video.clamp(0, 1) * 255).round().to(torch.uint8).reshape(t, h, w, 3)\n",
            "not where it was",
        ),
        (
            "def to_pixels(video):\n"
            "    return (video.clamp(0, 1) * 255).round().to(torch.uint8).permute(3, 1, 2, 0)\n",
            "is asked for",
        ),
        (
            "def to_pixels(video):\n    return (video.clamp(0, 1) * 255).round().permute(1, 2, 3, 0)\n",
            "uint8 tensor",
        ),
    ],
    "01.2": [
        (
            "def resample(count, stored, wanted):\n"
            "    return [k * stored // wanted for k in range(-(-count * wanted // stored))]\n",
            "another one is nearer",
        ),
        (
            "def resample(count, stored, wanted):\n"
            "    n = -(-count * wanted // stored)\n"
            "    return [round(k * stored / wanted) for k in range(n)]\n",
            "there is none",
        ),
        (
            "def resample(count, stored, wanted):\n"
            "    n = count * wanted // stored\n"
            "    return [min(count - 1, round(k * stored / wanted)) for k in range(n)]\n",
            "lie before the end",
        ),
        (
            "def resample(count, stored, wanted):\n"
            "    n = -(-count * wanted // stored)\n"
            "    return [min(count - 1, round(k * wanted / stored)) for k in range(n)]\n",
            "another one is nearer",
        ),
    ],
    "01.3": [
        (
            "import math\n"
            "def count_bounces(start, velocity, room, time):\n"
            "    return int(abs(velocity) * time / room)\n",
            "Too few",
        ),
        (
            "import math\n"
            "def count_bounces(start, velocity, room, time):\n"
            "    return math.floor((start + velocity * time) / room)\n",
            "fewer than none",
        ),
        (
            "import math\n"
            "def count_bounces(start, velocity, room, time):\n"
            "    return abs(math.floor((start + velocity * time) / (2 * room)))\n",
            "Too (few|many)",
        ),
        (
            "import math\n"
            "def count_bounces(start, velocity, room, time):\n"
            "    return math.floor((start + abs(velocity) * time) / room)\n",
            "Too .* to the left",
        ),
        (
            "import math\n"
            "def count_bounces(start, velocity, room, time):\n"
            "    return abs(start + velocity * time) // room\n",
            "an int is asked for",
        ),
    ],
    "01.4": [
        (
            "def buckets(shapes, most):\n"
            "    order = sorted(range(len(shapes)), key=lambda i: shapes[i])\n"
            "    return [order[i : i + most] for i in range(0, len(order), most)]\n",
            "mixes the shapes",
        ),
        (
            "def buckets(shapes, most):\n"
            "    by = {}\n"
            "    for i, shape in enumerate(shapes):\n"
            "        by.setdefault(shape, []).append(i)\n"
            "    return list(by.values())\n",
            "too many",
        ),
        (
            "def buckets(shapes, most):\n"
            "    by, out = {}, []\n"
            "    for i, shape in enumerate(shapes):\n"
            "        by.setdefault(shape, []).append(i)\n"
            "        if len(by[shape]) == most:\n"
            "            out.append(by.pop(shape))\n"
            "    return out\n",
            "is used 0 times",
        ),
        (
            "def buckets(shapes, most):\n    return [[i] for i in range(len(shapes))]\n",
            "fewer would do",
        ),
    ],
    "01.5": [
        (
            "from dataclasses import replace\n"
            "OPPOSITE = {'up': 'down', 'down': 'up', 'left': 'right', 'right': 'left',\n"
            "    'up-left': 'down-right', 'up-right': 'down-left',\n"
            "    'down-left': 'up-right', 'down-right': 'up-left'}\n"
            "def backwards(scene):\n"
            "    ends = scene.positions()[-1]\n"
            "    return replace(scene, digits=tuple(\n"
            "        replace(d, start=tuple(e), direction=OPPOSITE[d.direction])\n"
            "        for d, e in zip(scene.digits, ends)))\n",
            r"leaves the path \(it had bounced\)",
        ),
        (
            "from dataclasses import replace\n"
            "def backwards(scene):\n"
            "    out = []\n"
            "    for d, e, v in zip(scene.digits, scene.positions()[-1], scene.velocities()[-1]):\n"
            "        name = max(DIRECTIONS, key=lambda n: np.dot(DIRECTIONS[n], v))\n"
            "        out.append(replace(d, start=tuple(e), direction=name))\n"
            "    return replace(scene, digits=tuple(out))\n",
            "leaves the path",
        ),
        (
            "from dataclasses import replace\n"
            "def backwards(scene):\n"
            "    out = []\n"
            "    for d, v in zip(scene.digits, scene.velocities()[-1]):\n"
            "        name = max(DIRECTIONS, key=lambda n: -np.dot(DIRECTIONS[n], v))\n"
            "        out.append(replace(d, direction=name))\n"
            "    return replace(scene, digits=tuple(out))\n",
            "from where the clip ended",
        ),
    ],
}
