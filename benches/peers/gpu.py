#!/usr/bin/env python3
"""Times wginfer on a GPU beside that GPU's own limits and other runtimes.

    gpu.py --ours COMMAND --decode COMMAND [--peer NAME=COMMAND ...] --size large|small
           [--only PART] [--rounds N] [--json FILE] [--markdown FILE]

Limits (a copy by the driver, one by the best of our kernels, multiply-adds in registers,
cooperative matrices in registers) are measured by the same process as the work, before and
after it; the better one counts. What is wanted is meant for the driver's copy.
Vectors meet other weights in each run, in wginfer and PyTorch; those of burn stay the same.
`large` is what fills a GPU, `small` a rehearsal for which nothing is to be reached.
"""

import argparse
import json
import sys
from pathlib import Path

from compare import Peer, cell, measured, ratio

SIZES = {
    "large": {"squares": [1024, 4096, 8192], "layer": "4096x14336", "rows": 512, "heads": "32x2048x128",
              "step": "32x4096x128", "plane": "4096x4096", "sum": 32},
    "small": {"squares": [256, 384], "layer": "512x1536", "rows": 128, "heads": "8x256x64",
              "step": "8x1024x64", "plane": "512x1024", "sum": 4},
}
KERNELS = "kernel's copy"
CEILINGS = {"copy": ["gpu/ceiling/copy"],
            KERNELS: [f"gpu/ceiling/kernel_copy_{name}" for name in ("wide", "narrow", "pairs", "alone")],
            "multiply-add": ["gpu/ceiling/multiply_add"],
            "matrices": ["gpu/ceiling/coop_16", "gpu/ceiling/coop_8"]}

# Variants of cooperative matrices that are timed by themselves.
MATRICES = ("coop_16_", "coop_wide_16_", "coop_8_", "coop_wide_8_")


def works(size):
    """(case, the limit it is compared with, the share that is wanted)."""
    of = SIZES[size]
    wanted = of["squares"][-2] if size == "large" else of["squares"][-1]
    cases = []
    for n in of["squares"]:
        cases.append((f"gpu/matmul_F32/{n}", "multiply-add", 0.7 if n == wanted else None))
        for variant in ("", *MATRICES):
            cases.append((f"gpu/{variant}matmul_F16/{n}", "matrices", 0.6 if n == wanted else None))
    for dtype in ("F32", "F16", "Q4_0", "Q8_0", "Q4_K", "Q6_K"):
        cases.append((f"gpu/matvec_{dtype}/{of['layer']}", "copy", 0.7))
    for dtype in ("F16", "Q4_0", "Q4_K"):
        for variant in ("", *MATRICES):
            limit = "matrices" if variant else "multiply-add"
            cases.append((f"gpu/{variant}prefill_{dtype}/{of['rows']}x{of['layer']}", limit, None))
        if dtype != "F16":
            cases.append((f"gpu/int8_prefill_{dtype}/{of['rows']}x{of['layer']}", "multiply-add", None))
    cases.append((f"gpu/attention_causal_F32/{of['heads']}", "multiply-add", None))
    cases.append((f"gpu/attention_causal_F16/{of['heads']}", "matrices", 0.5))
    cases.append((f"gpu/attention_decode/{of['step']}", "copy", 0.7))
    for name in ("softmax", "layer_normalization", "rms_normalization"):
        cases.append((f"gpu/{name}/{of['plane']}", "copy", 0.7))
    cases.append((f"gpu/add/{of['sum']}M", "copy", 0.7))
    return cases


def rate(peer, case, milliseconds):
    """Giga units a second, of bytes or operations."""
    unit, count = peer.ask(case, "work").split()
    return unit, int(count) / milliseconds / 1e6


def ceilings(ours, rounds):
    """The rates of the limits that this adapter has."""
    found = {}
    for limit, cases in CEILINGS.items():
        for case in cases:
            if ours.ask(case, "work") == "unknown":
                continue
            result = measured([ours], case, rounds)[ours.name]
            if "failure" in result:
                print(f"{case}: {result['failure']}", file=sys.stderr, flush=True)
            else:
                found[limit] = max(found.get(limit, 0), rate(ours, case, result["least"])[1])
    return found


def line(case, limit, wanted, results, rates, limits, names, rehearsed):
    ours = results[names[0]]
    if "failure" in ours:
        return [case.removeprefix("gpu/"), ours["failure"], *["–"] * (3 + len(names))]
    unit, value = rates[case]
    share = value / limits[limit] if limit in limits else None
    reached = f"{share:.2f} of {limit}" if share else "–"
    if limit == "copy" and share and KERNELS in limits:
        reached += f", {value / limits[KERNELS]:.2f} of a kernel's"
    judged = wanted is not None and share is not None and not rehearsed
    met = ("yes" if share >= wanted else "no") if judged else ""
    return [case.removeprefix("gpu/"), cell(ours)[0], f"{value:,.4g} {'GB/s' if unit == 'bytes' else 'GFLOP/s'}",
            reached, f"{wanted}" if wanted else "–", met or "–",
            *[f"{r:.2f}" if (r := ratio(results, names[0], name)) else "–" for name in names[1:]]]


def table(rows, names):
    head = ["work", f"{names[0]}, ms", "rate", "share of the limit", "wanted", "reached",
            *[f"ratio to {name}" for name in names[1:]]]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", required=True, metavar="COMMAND")
    parser.add_argument("--decode", required=True, metavar="COMMAND", help="wginfer on the synthetic model")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--size", choices=SIZES, required=True)
    parser.add_argument("--only", default="", help="a part of the names of cases")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args()
    ours = Peer("wginfer", given.ours)
    peers = [ours] + [Peer(*peer.split("=", 1)) for peer in given.peer]
    names = [peer.name for peer in peers]
    limits = ceilings(ours, given.rounds)
    done, rates = {}, {}

    def note(case, asked, group):
        if asked.ask(case, "work") == "unknown":
            return
        done[case] = measured(group, case, given.rounds)
        result = done[case][asked.name]
        if "failure" not in result:
            rates[case] = rate(asked, case, result["median"])
        print(f"{case}: {cell(result)[0]}", file=sys.stderr, flush=True)

    cases = [work for work in works(given.size) if given.only in work[0]]
    for case, _, _ in cases:
        note(case, ours, peers)
    for limit, again in ceilings(ours, given.rounds).items():
        limits[limit] = max(limits.get(limit, 0), again)
    titles = [peer.title.removeprefix("ready ") for peer in peers]
    for peer in peers:
        peer.close()
    # The synthetic model takes most of a GPU's memory.
    case = f"gpu/decode_Q4_K_{given.size}"
    if given.only in case:
        decode = Peer("wginfer", given.decode)
        note(case, decode, [decode])
        decode.close()
        cases.append((case, "copy", 0.7))
    rows = [line(*work, done[work[0]], rates, limits, names, given.size == "small") for work in cases if work[0] in done]
    text = f"### {titles[0]}\n\n" + "\n".join(f"- {title}" for title in titles)
    text += "\n\nLimits: " + ", ".join(f"{name} {value:,.4g} {'GB/s' if name.endswith('copy') else 'GFLOP/s'}" for name, value in limits.items())
    if "matrices" not in limits:
        text += "; no cooperative matrices of f16 with f32 sums here"
    if given.size == "small":
        text += ". A rehearsal in small sizes: what is wanted is meant for a GPU and the large ones"
    text += f".\n\n{table(rows, names)}\n"
    print(text)
    if given.markdown:
        given.markdown.write_text(text)
    if given.json:
        given.json.write_text(json.dumps({"peers": titles, "limits": limits, "cases": done}, indent=1))


if __name__ == "__main__":
    main()
