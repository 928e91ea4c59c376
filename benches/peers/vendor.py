#!/usr/bin/env python3
"""The vendor's own library as a server of timings, through PyTorch: see README.md.

cuBLAS on NVIDIA, hipBLAS on AMD, MPS on Apple, oneMKL on Intel, whatever this build of
PyTorch was made for. F32 is F32: reduced precision (TF32) is off. Without any such
device it computes on the CPU, says so in its title, and is good for rehearsals only.
"""

import itertools
import os
import re
import sys
import time

import torch

torch.manual_seed(1)
torch.backends.cuda.matmul.allow_tf32 = False
# What caches are taken not to hold, as in benches/kernels/gpu_cases.rs.
BEYOND_CACHE = (32 if os.environ.get("WGINFER_BENCH_LARGE") == "small" else 512) << 20
TYPES = {"F32": torch.float32, "F16": torch.float16}


def device():
    if torch.cuda.is_available():
        return "cuda", torch.cuda.get_device_name()
    if getattr(torch, "xpu", None) and torch.xpu.is_available():
        return "xpu", torch.xpu.get_device_name()
    if torch.backends.mps.is_available():
        return "mps", "Apple GPU"
    return "cpu", "the CPU (a rehearsal: no GPU that PyTorch can use)"


DEVICE, TITLE = device()


def wait():
    if DEVICE != "cpu":
        getattr(torch, DEVICE).synchronize()


def product(dtype, m, k, n):
    a, b = (torch.randn(shape, device=DEVICE, dtype=dtype) for shape in ((m, k), (n, k)))
    rows = slice(0, 4)
    expected = a[rows].double().cpu() @ b.double().cpu().T
    # A vector meets other weights each time.
    copies = -(-BEYOND_CACHE // (b.numel() * b.element_size())) if m == 1 else 1
    weights = itertools.cycle([b] + [b.clone() for _ in range(copies - 1)])
    return lambda: a @ next(weights).T, lambda y: (y[rows].double().cpu(), expected, k**0.5)


def attention(dtype, heads, length, size):
    q, k, v = (torch.randn((1, heads, length, size), device=DEVICE, dtype=dtype) for _ in range(3))
    run = lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    def pair(y):
        # The last position of a head sees all keys.
        one = (x[0, 0].double().cpu() for x in (q[..., -1:, :], k, v))
        one_q, one_k, one_v = one
        return y[0, 0, -1:].double().cpu(), torch.softmax(one_q @ one_k.T / size**0.5, -1) @ one_v, 1.0

    return run, pair


def case(name):
    """What is timed, and a function from its result to (is, should be, size of the terms)."""
    if match := re.fullmatch(r"gpu/matmul_(F32|F16)/(\d+)", name):
        n = int(match[2])
        return product(TYPES[match[1]], n, n, n)
    if match := re.fullmatch(r"gpu/(prefill|matvec)_(F32|F16)/(?:(\d+)x)?(\d+)x(\d+)", name):
        m = int(match[3] or 1)
        return product(TYPES[match[2]], m, int(match[4]), int(match[5]))
    if match := re.fullmatch(r"gpu/attention_causal_(F32|F16)/(\d+)x(\d+)x(\d+)", name):
        return attention(TYPES[match[1]], *map(int, match.groups()[1:]))
    return None


def opened(name):
    made = case(name)
    if made is None:
        return None, "unknown"
    run, pair = made
    wait()
    begun = time.perf_counter()
    y = run()
    wait()
    first = (time.perf_counter() - begun) * 1e3
    got, expected, size = pair(y)
    near = 4e-3 if y.dtype == torch.float16 else 1e-4
    if not torch.allclose(got, expected, rtol=near, atol=near * size):
        return None, "wrong"
    for _ in range(3):
        run()
    wait()
    return run, first


def main():
    print(f"ready PyTorch {torch.__version__} on {TITLE}", flush=True)
    run = None
    for line in sys.stdin:
        name, count = line.split()
        if count == "0":
            try:
                run, answer = opened(name)
            except Exception as error:  # what a peer cannot do is a result
                answer = f"failed {str(error)[:160]}".replace("\n", " ")
            print(answer, flush=True)
            continue
        wait()
        begun = time.perf_counter()
        for _ in range(int(count)):
            run()
        wait()
        print((time.perf_counter() - begun) * 1e3 / int(count), flush=True)


if __name__ == "__main__":
    main()
