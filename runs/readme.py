"""Writes README's tables from benchmarks/results/ and notebooks/results.json; `--check` only compares.

README has no figure of its own: every number between a pair of these comments comes from here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout

from runs.edits import editing
from runs.native_sizes import native_sizes
from runs.scoreboard import grid, scoreboard, written
from runs.words import words

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
LESSONS = ROOT / "notebooks"


def percent(figure: dict[str, float]) -> str:
    """A share with its 95 % interval."""
    return f"{figure['value']:.1%} ({figure['low']:.1%} to {figure['high']:.1%})"


def contrast_of(section: dict[str, Any]) -> float:
    """How strong contrastive guidance was; none where it did not exist yet."""
    return float(section["sampling"].get("contrast_scale", 0.0))


def fidelity_rows(facts: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(what, measured, the same on real clips) from fidelity.json."""
    vae, rows = facts["vae"], []
    for key in ("psnr_17x64x64", "psnr_33x96x48"):
        size = key.removeprefix("psnr_")
        rows.append((f"VAE, PSNR on test digits, {size}", f"{vae[key]['value']:.1f} dB", ""))
    originals = percent(vae["read_originals"])
    rows.append(
        ("VAE, digit read in reconstructions", percent(vae["read_reconstructions"]), originals)
    )
    titles = {"test": "trained color-digit pairs", "held_out": "pairs never trained"}
    names = {
        "digit": "prompted digit read",
        "color": "prompted color",
        "direction": "direction within 45 degrees",
        "all_three": "all three",
        "same_digit": "frames that show the same digit",
    }
    for section in ("test_best", "held_out_best"):
        if section in facts:
            kind = section.removesuffix("_best")
            titles[section] = f"{titles[kind]}, best of {facts[section]['best_of']}"
            if contrast_of(facts[kind]) and not contrast_of(facts[section]):
                titles[section] += " (sampled without contrast)"
    for section, title in titles.items():
        part = facts[section]
        for key, name in names.items():
            made, real = percent(part["generated"][key]), percent(part["real"][key])
            rows.append((f"{title}: {name}", made, real))
    timing = facts["timing"]
    for count in (1, 8):
        seconds = timing[f"clips_{count}"]["median"]
        rows.append((f"seconds to generate {count} x 17x64x64", f"{seconds:.1f} s", ""))
    return rows


def throughput_rows(facts: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(what, measured, '') from throughput.json."""
    latte, packing = facts["latte"], facts["packing"]
    precision = latte["minisora"]["precision"]
    rows = []
    for key, what in (("equal_blocks", "blocks"), ("equal_layers", "layers")):
        ours, fp32 = (latte[key][ratio]["median"] for ratio in ("ratio", "ratio_fp32"))
        title = f"training speed against Latte (fp32) of as many {what}"
        rows.append((f"{title}: as trained, {precision}", f"{ours:.2f}x", ""))
        rows.append((f"{title}: in fp32", f"{fp32:.2f}x", ""))
    return [*rows, ("packed against padded to the largest clip", f"{packing['ratio']:.2f}x", "")]


def table() -> str:
    """The measured table in Markdown."""
    fidelity = json.loads((RESULTS / "fidelity.json").read_text())
    throughput = json.loads((RESULTS / "throughput.json").read_text())
    rows = fidelity_rows(fidelity) + throughput_rows(throughput)
    sampling, machine = fidelity["test"]["sampling"], throughput["latte"]["machine"]
    note = (
        f"{fidelity['test']['clips']} one-digit clips of each kind, detailed prompts; {sampling['sampler']}, "
        f"{sampling['steps']} steps a latent frame, lag {sampling['lag']}, guidance {sampling['guidance_scale']}, "
        f"perturbed attention {sampling['pag_scale']}, contrast {contrast_of(fidelity['test'])}, all up to "
        f"level {sampling['guidance_interval'][1]:g}. "
        f"Best of several: chosen by the captioner (`minisora.rerank`). "
        f"In brackets: 95 % intervals. The reader is an independent classifier that reads "
        f"{fidelity['reader_on_real_test_digits']:.1%} of real test digits. "
        f"{machine['threads']} threads, {machine['cpu']}, torch {machine['torch']}."
    )
    lines = ["| what | measured | real clips |", "| --- | --- | --- |"]
    lines += [f"| {what} | {made} | {real} |" for what, made, real in rows]
    return "\n".join([note, "", *lines])


def guidance() -> str:
    """Fidelity under several strengths of guidance, from guidance.json."""
    return written((("guidance", "guidance", guidance_table),), "benchmarks/guidance.py")


def guidance_table(facts: dict[str, Any]) -> str:
    """The table and what it was measured on."""
    part = facts["guidance"]
    names = ("count", "digit", "size", "direction", "speed", "all")
    rows = [
        [
            *(f"{row['sampling'][key]:g}" for key in ("guidance_scale", "pag_scale")),
            f"{row['sampling']['guidance_interval'][1]:g}",
            f"{contrast_of(row):g}",
            "bfloat16" if row["fast"] else "float32",
            *(f"{row['fidelity'][name]['value']:.1%}" for name in names),
            "{value:.3f} ({low:.3f} to {high:.3f})".format(**row["distance"]["judge 0"]["kernel"]),
        ]
        for row in sorted(part["rows"].values(), key=lambda row: tuple(row["sampling"].values()))
    ]
    head = ["guidance", "perturbed attention", "up to level", "contrast", "in", *names]
    head.append("kernel distance, judge 0")
    note = (
        f"{part['clips']} clips a row, of one or two digits, from prompts that judge nothing else."
    )
    return f"{note}\n\n{grid(head, rows)}"


HEADLINES = {
    "00_overview": "right in {generated_color:.0%} of generated clips: color; {generated_digit:.0%}: digit",
    "01_video_and_worlds": "next frame: {network_psnr_db:.1f} dB, copying the last: {copy_psnr_db:.1f} dB",
    "02_video_vae": "trained live {psnr_db_ours:.1f} dB, down- and up-sampled {psnr_db_down_and_up_sampled:.1f} dB, "
    "shipped {psnr_db_shipped:.1f} dB",
    "03_spacetime_patches": "error on unseen grids: RoPE {unseen_rope:.2f}, sin-cos {unseen_sincos:.2f}, "
    "learned {unseen_learned:.2f}; padded / packed time {padded_over_packed:.1f}",
    "04_diffusion_transformer": "four clips by heart: {psnr_sampled:.1f} dB, mean clip {psnr_mean_clip:.1f} dB",
    "05_diffusion": "error of a learned field {plane_learned:.3f}, of a Gaussian's {plane_gaussian:.3f}",
    "06_sampling": "order of Euler {order_euler:.2f}, Heun {order_heun:.2f}, DPM-Solver++(2M) {order_dpmpp_2m:.2f}",
    "07_text_and_recaptioning": "captions all right: trained live {all_right_live:.0%}, without alt-text first "
    "{all_right_from_nothing:.0%}, most frequent caption {all_right_trivial:.0%}, shipped {all_right_shipped:.0%}",
    "08_editing": "what follows given frames: error with a level a frame {guess_error_level_each:.2f}, one level "
    "{guess_error_one_level:.2f}, trivial {guess_error_trivial:.2f}",
    "09_native_sizes": "no whole digit in the frame: trained on native sizes {framing_native:.0%}, on square crops "
    "{framing_square:.0%}",
}
"""What README says of each notebook, filled in from notebooks/results.json."""


def lessons() -> str:
    """The course's table in Markdown: every notebook, what it takes and what was measured in it."""
    lines = ["| notebook | minutes | memory | measured in it |", "| --- | --- | --- | --- |"]
    for name, figures in json.loads((LESSONS / "results.json").read_text()).items():
        title = f"{name[:2]} {name[3:].replace('_', ' ')}"
        minutes, gib = figures["minutes"], figures["peak_gib"]
        told = HEADLINES[name].format(**figures)
        lines.append(
            f"| [{title}](notebooks/{name}.ipynb) | {minutes:.1f} | {gib:.1f} GiB | {told} |"
        )
    return "\n".join(lines)


TABLES = {
    "results": table,
    "guidance": guidance,
    "scoreboard": scoreboard,
    "editing": editing,
    "words": words,
    "sizes": native_sizes,
    "course": lessons,
}


def updated(text: str) -> str:
    """README with the tables in their places."""
    for name, write in TABLES.items():
        begin, end = f"<!-- {name}:", f"<!-- end of {name} -->"
        head, found, rest = text.partition(begin)
        comment, _, rest = rest.partition("\n")
        _, closed, tail = rest.partition(end)
        if not found or not closed:
            raise SystemExit(f"README.md lacks the lines {begin} and {end}; put them back.")
        text = f"{head}{begin}{comment}\n{write()}\n{end}{tail}"
    return text


def main() -> None:
    """Write README.md, or with --check fail if it differs."""
    readme = ROOT / "README.md"
    text = readme.read_text()
    new = updated(text)
    if "--check" in sys.argv[1:]:
        if new != text:
            raise SystemExit(
                "README.md differs from the result files; run `python runs/readme.py`."
            )
    else:
        readme.write_text(new)


if __name__ == "__main__":
    main()
