#!/usr/bin/env python3
"""Times wginfer and other runtimes side by side on one adapter.

    compare.py --adapter llvmpipe --ours COMMAND --peer NAME=COMMAND [--peer ...]
               [--only PART] [--rounds N] [--json FILE] [--markdown FILE]

Every runtime is a process that was told which adapter to use (see README.md for the
lines they speak). A runtime's answers are checked by itself before it is timed. Each
round times every runtime once, one after the other and with the others stopped; what counts is the median of the
rounds. `first` is the first call of a shape, from opening it to its result.
"""

import argparse
import contextlib
import json
import math
import os
import shlex
import signal
import statistics
import subprocess
import sys
from pathlib import Path

ORDER = [
    "matmul_F32/256", "matmul_F32/512", "matmul_F32/1024", "prefill_F32/128x576x1536",
    "matvec_F32/576x1536", "matvec_F32/1536x576", "conv_7x7/3x224x224x64", "conv_3x3/64x56x56x64",
    "conv_1x1/256x14x14x1024", "conv_depthwise/32x112x112", "attention/9x256x64",
    "attention_causal/9x256x64", "softmax/512x1024", "softmax/4096x4096", "layer_normalization/512x1024",
    "layer_normalization/4096x4096", "rms_normalization/512x1024", "rms_normalization/4096x4096", "gelu/4M", "add/4M",
    "matvec_Q4_0/576x1536", "prefill_Q4_0/128x1536x576",
    "smollm2_prefill/128", "smollm2_prefill/512", "smollm2_decode/64",
]
# The means of the acceptance are over these.
COMPUTE = ("matmul", "prefill_F32", "matvec_F32", "conv", "attention")


class Peer:
    def __init__(self, name, command):
        self.name = name
        # A session of its own, so that all of its processes can be stopped at once.
        self.process = subprocess.Popen(
            shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.title = self.line()

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended (exit status {self.process.wait()})")
        return line.strip()

    def ask(self, case, count):
        self.process.stdin.write(f"{case} {count}\n")
        self.process.stdin.flush()
        return self.line()

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def alone(peer, peers):
    """The other runtimes are stopped meanwhile: some work on while nothing is asked of them."""
    others = [other for other in peers if other is not peer]
    for other in others:
        other.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for other in others:
            other.signal(signal.SIGCONT)


def measured(peers, case, rounds):
    """For each peer that has the case: {"first": ms, "median": ms, ...} or what went wrong."""
    results = {}
    for peer in peers:
        answer = peer.ask(case, 0)
        try:
            results[peer.name] = {"first": float(answer), "times": []}
        except ValueError:
            if answer != "unknown":
                results[peer.name] = {"failure": answer}
    timed = [peer for peer in peers if "times" in results.get(peer.name, {})]
    # So many runs at a time that a round takes about 20 ms each.
    counts = {peer.name: max(1, min(50, round(20 / max(float(peer.ask(case, 2)), 0.05)))) for peer in timed}
    for _ in range(rounds):
        for peer in timed:
            with alone(peer, peers):
                results[peer.name]["times"].append(float(peer.ask(case, counts[peer.name])))
    for peer in timed:
        times = results[peer.name].pop("times")
        results[peer.name].update(median=statistics.median(times), least=min(times), most=max(times))
    return results


def geometric(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None


def cell(result):
    if result is None:
        return "–", "–"
    if "failure" in result:
        return result["failure"][:40], "–"
    return f"{result['median']:.3g}", f"{result['first']:.0f}"


def table(names, cases):
    head = ["work"] + [f"{name}, ms" for name in names] + [f"ratio to {name}" for name in names[1:]] + ["first calls, ms"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for case, results in cases.items():
        medians = [cell(results.get(name))[0] for name in names]
        ratios = [f"{r:.2f}" if (r := ratio(results, names[0], name)) else "–" for name in names[1:]]
        firsts = " / ".join(cell(results.get(name))[1] for name in names)
        lines.append("| " + " | ".join([case, *medians, *ratios, firsts]) + " |")
    return "\n".join(lines)


def ratio(results, ours, peer):
    """How many times as long the peer takes."""
    pair = [results.get(ours, {}).get("median"), results.get(peer, {}).get("median")]
    # A difference of two times can come out as nothing at all.
    return pair[1] / pair[0] if all(pair) and pair[1] > 0 else None


def summary(names, cases):
    lines = []
    for peer in names[1:]:
        ratios = {case: r for case, results in cases.items() if (r := ratio(results, names[0], peer))}
        compute = [r for case, r in ratios.items() if case.startswith(COMPUTE)]
        firsts = {case: results[peer]["first"] / results[names[0]]["first"] for case, results in cases.items()
                  if "first" in results.get(peer, {}) and "first" in results.get(names[0], {})}
        sooner = [r for case, r in firsts.items() if case.startswith(COMPUTE)]
        if not ratios:
            continue
        slower = [case for case, r in ratios.items() if r < 1]
        mean = geometric(compute)
        lines.append(
            f"Against {peer}: " + (f"geometric mean {mean:.2f} over {len(compute)} of matmul, matvec, conv and attention; " if mean else "")
            + f"least {min(ratios.values()):.2f}; first calls {geometric(list(firsts.values())):.1f} times as fast"
            + (f" ({geometric(sooner):.1f} times those of the mean); " if sooner else "; ")
            + (f"slower on {', '.join(slower)}" if slower else "slower on nothing"))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", required=True, help="for the heading")
    parser.add_argument("--ours", required=True, metavar="COMMAND")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--only", default="", help="a part of the names of cases")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args()
    peers = [Peer("wginfer", given.ours)]
    peers += [Peer(*peer.split("=", 1)) for peer in given.peer]
    names = [peer.name for peer in peers]
    cases = {}
    for case in ORDER:
        if given.only in case:
            cases[case] = measured(peers, case, given.rounds)
            shown = "  ".join(f"{name} {cell(cases[case].get(name))[0]}" for name in names)
            print(f"{case}: {shown}", file=sys.stderr, flush=True)
    for peer in peers:
        peer.close()
    text = f"### {given.adapter}\n\n" + "\n".join(f"- {peer.title.removeprefix('ready ')}" for peer in peers)
    text += f"\n\n{table(names, cases)}\n\n{summary(names, cases)}\n"
    print(text)
    if given.markdown:
        given.markdown.write_text(text)
    if given.json:
        given.json.write_text(json.dumps({"adapter": given.adapter, "peers": [p.title for p in peers], "cases": cases}, indent=1))


if __name__ == "__main__":
    main()
