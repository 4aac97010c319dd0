"""Writes the reference of tests/vit_reference.rs: two small ViTs with random weights and what PyTorch computes with them.

    python make_vit_reference.py [OUTPUT FOLDER]

For each network NAME.json (the description), and NAME.safetensors (the weights under timm's names, the input `pixels`
and the expected `features`, computed in f64 and rounded once). Needs torch and safetensors; plain modules, no timm.
"""

import json
import pathlib
import sys

import torch
from torch import nn


class QuickGelu(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    def __init__(self, width, heads, fused):
        super().__init__()
        self.heads = heads
        self.fused = fused
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        if self.fused:
            mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        else:
            scores = (query * (width // self.heads) ** -0.5) @ key.transpose(-2, -1)
            mixed = scores.softmax(dim=-1) @ value
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))


class Mlp(nn.Module):
    def __init__(self, width, mlp_width, gelu):
        super().__init__()
        self.fc1 = nn.Linear(width, mlp_width)
        self.act = {"exact": nn.GELU, "quick": QuickGelu}[gelu]()
        self.fc2 = nn.Linear(mlp_width, width)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width, heads, mlp_width, gelu, epsilon, fused):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=epsilon)
        self.attn = Attention(width, heads, fused)
        self.norm2 = nn.LayerNorm(width, eps=epsilon)
        self.mlp = Mlp(width, mlp_width, gelu)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, patch_size, channels, width):
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch_size, stride=patch_size)

    def forward(self, pixels):
        return self.proj(pixels).flatten(2).transpose(1, 2)


class Vit(nn.Module):
    def __init__(
        self, image_size, patch_size, channels, width, depth, heads, mlp_width, gelu, layer_norm_epsilon, fused=False
    ):
        super().__init__()
        tokens = (image_size // patch_size) ** 2 + 1
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, tokens, width))
        self.patch_embed = PatchEmbed(patch_size, channels, width)
        self.blocks = nn.Sequential(
            *[Block(width, heads, mlp_width, gelu, layer_norm_epsilon, fused) for _ in range(depth)]
        )
        self.norm = nn.LayerNorm(width, eps=layer_norm_epsilon)

    def forward(self, pixels):
        x = self.patch_embed(pixels)
        x = torch.cat([self.cls_token.expand(len(pixels), -1, -1), x], dim=1) + self.pos_embed
        return self.norm(self.blocks(x))[:, 0]


NETWORKS = {
    "vit_exact": dict(
        image_size=12, patch_size=4, channels=1, width=24, depth=2, heads=3, mlp_width=40, gelu="exact",
        layer_norm_epsilon=1e-6,
    ),
    "vit_quick": dict(
        image_size=8, patch_size=2, channels=3, width=20, depth=3, heads=5, mlp_width=48, gelu="quick",
        layer_norm_epsilon=1e-5,
    ),
}


def main(folder):
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, config) in enumerate(NETWORKS.items(), start=1):
        torch.manual_seed(seed)
        network = Vit(**config)
        with torch.no_grad():
            for parameter in network.parameters():
                # Everything is random, biases and norms too, and large enough that every part matters.
                center = 1.0 if parameter.ndim == 1 and parameter[0] == 1.0 else 0.0
                parameter.copy_(center + 0.3 * torch.randn_like(parameter))
        side = config["image_size"]
        pixels = torch.randn(3, config["channels"], side, side)
        tensors = {key: value.detach().clone() for key, value in network.state_dict().items()}
        with torch.no_grad():
            features = network.double()(pixels.double()).float()
        tensors |= {"pixels": pixels, "features": features}
        (folder / f"{name}.json").write_text(json.dumps({"family": "vit", **config}, indent=2) + "\n")
        save_file(tensors, folder / f"{name}.safetensors")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
