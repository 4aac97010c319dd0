"""Times a Vision Transformer in PyTorch, for `taskvec bench train` to stand beside: dense training steps, and sensitivities.

Prints one JSON object: {"seconds_per_step": [...], "seconds_per_image": [...], "threads": n, "version": "..."}. The shapes come
from the command line so that both sides agree: tokens are (image_size / patch_size)^2 + 1. A step is forward, backward, clip,
AdamW: what a step of ours does. Sensitivities are measured as published code does it: a batch forward, then for each image a
backward pass of its own, whose squared gradients are added up.
"""
import argparse
import json
import time

import torch
import torch.nn.functional as functional
from torch import nn


class Block(nn.Module):
    def __init__(self, width, heads, mlp_width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, mlp_width), nn.Linear(mlp_width, width)
        self.heads = heads

    def forward(self, x):
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.proj(attended.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))


class VisionTransformer(nn.Module):
    def __init__(self, image, patch, channels, width, depth, heads, mlp_width, classes):
        super().__init__()
        self.patch_embed = nn.Conv2d(channels, width, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, (image // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*[Block(width, heads, mlp_width) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, classes)

    def forward(self, pixels):
        x = self.patch_embed(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


def time_sensitivities(model, pixels):
    began = time.perf_counter()
    parameters = list(model.parameters())
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    logits = functional.log_softmax(model(pixels), 1)
    labels = torch.distributions.Categorical(logits=logits.detach()).sample()
    for row, label in zip(logits, labels):
        gradients = torch.autograd.grad(row[label], parameters, retain_graph=True)
        for total, gradient in zip(sums, gradients):
            total += gradient**2
    return (time.perf_counter() - began) / len(pixels)


def main():
    arguments = argparse.ArgumentParser()
    names = ("image", "patch", "channels", "width", "depth", "heads", "mlp-width", "classes", "batch", "steps", "rounds", "threads")
    for name in names:
        arguments.add_argument(f"--{name}", type=int, required=True)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    model = VisionTransformer(
        given.image, given.patch, given.channels, given.width, given.depth, given.heads, given.mlp_width, given.classes
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    pixels = torch.randn(given.batch, given.channels, given.image, given.image)
    labels = torch.arange(given.batch) % given.classes
    seconds = []
    for _ in range(given.steps):
        began = time.perf_counter()
        optimizer.zero_grad()
        functional.cross_entropy(model(pixels), labels).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - began)
    of_images = [time_sensitivities(model, pixels) for _ in range(given.rounds)]
    print(json.dumps({"seconds_per_step": seconds, "seconds_per_image": of_images, "threads": torch.get_num_threads(), "version": torch.__version__}))


if __name__ == "__main__":
    main()
