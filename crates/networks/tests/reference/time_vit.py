"""Times PyTorch on the step of examples/training_step.rs. Arguments: images per batch (16), threads (2), rounds (20).

Needs torch. Attention is written out, as in make_vit_reference.py; `--fused` uses PyTorch's fused attention instead.
"""

import statistics
import sys
import time

import torch

from make_vit_reference import Vit

fused = "--fused" in sys.argv
numbers = [int(argument) for argument in sys.argv[1:] if argument != "--fused"]
batch, threads, rounds = (numbers + [16, 2, 20][len(numbers) :])[:3]
torch.manual_seed(1)
torch.set_num_threads(threads)
network = Vit(
    image_size=64, patch_size=8, channels=1, width=192, depth=6, heads=3, mlp_width=768, gelu="exact",
    layer_norm_epsilon=1e-6, fused=fused,
)
pixels = torch.randn(batch, 1, 64, 64)
labels = torch.arange(batch) % 10
times = []
for _ in range(rounds + 3):
    start = time.perf_counter()
    for parameter in network.parameters():
        parameter.grad = None
    logits = network(pixels)[:, :10]
    loss = torch.nn.functional.cross_entropy(logits, labels)
    forward = time.perf_counter() - start
    loss.backward()
    times.append((time.perf_counter() - start, forward))
times = sorted(times[3:])
for word, (step, forward) in (("median", times[rounds // 2]), ("best", times[0])):
    print(f"batch {batch}, {threads} threads, {word}: {step * 1e3:.1f} ms (forward {forward * 1e3:.1f} ms)")
