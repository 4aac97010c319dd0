"""Writes the references of tests/it/reference.rs for MobileNetV1 and ResNet: small networks with random weights and what
PyTorch computes with them.

    python make_convolutional_reference.py [OUTPUT FOLDER]

For each network NAME.json (the description), and NAME.safetensors (the weights, the input `pixels` and the expected
`features`, computed in f64 and rounded once). Needs torch and safetensors; plain modules, no timm and no torchvision. Names
are those of timm's MobileNetV1 and of akamaster's ResNets.
"""

import json
import pathlib
import sys

import torch
from torch import nn
from torch.nn import functional


class Strided(nn.Conv2d):
    """A 3 by 3 convolution that puts its zeros where TensorFlow or PyTorch does."""

    def __init__(self, inside, out, stride, groups, padding):
        super().__init__(inside, out, 3, stride=stride, groups=groups, bias=False)
        self.zeros = (0, 1, 0, 1) if stride == 2 and padding == "tensorflow" else (1, 1, 1, 1)

    def forward(self, x):
        return super().forward(functional.pad(x, self.zeros))


class Separable(nn.Module):
    def __init__(self, inside, out, stride, padding, epsilon):
        super().__init__()
        self.conv_dw = Strided(inside, inside, stride, inside, padding)
        self.bn1 = nn.BatchNorm2d(inside, eps=epsilon)
        self.conv_pw = nn.Conv2d(inside, out, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out, eps=epsilon)

    def forward(self, x):
        x = functional.relu6(self.bn1(self.conv_dw(x)))
        return functional.relu6(self.bn2(self.conv_pw(x)))


class MobileNetV1(nn.Module):
    STAGES = [(1, 64, 1), (2, 128, 2), (2, 256, 2), (2, 512, 6), (2, 1024, 2)]

    def __init__(self, image_size, channels, width_multiplier, padding, batch_norm_epsilon):
        super().__init__()
        inside = int(32 * width_multiplier)
        self.conv_stem = Strided(channels, inside, 2, 1, padding)
        self.bn1 = nn.BatchNorm2d(inside, eps=batch_norm_epsilon)
        stages = []
        for stride, out, count in self.STAGES:
            out = int(out * width_multiplier)
            blocks = []
            for at in range(count):
                blocks.append(Separable(inside, out, stride if at == 0 else 1, padding, batch_norm_epsilon))
                inside = out
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)

    def forward(self, pixels):
        x = functional.relu6(self.bn1(self.conv_stem(pixels)))
        return self.blocks(x).mean(dim=(2, 3))


class BasicBlock(nn.Module):
    def __init__(self, inside, out, stride, epsilon):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out, eps=epsilon)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out, eps=epsilon)

    def forward(self, x):
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if out.shape != x.shape:
            zeros = x.shape[1] // 2
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, zeros, zeros))
        return functional.relu(out + x)


class ResNet(nn.Module):
    def __init__(self, image_size, channels, width, depth, batch_norm_epsilon):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width, eps=batch_norm_epsilon)
        inside = width
        for stage in range(3):
            out = width << stage
            blocks = []
            for at in range((depth - 2) // 6):
                blocks.append(BasicBlock(inside, out, 2 if inside != out else 1, batch_norm_epsilon))
                inside = out
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))

    def forward(self, pixels):
        x = functional.relu(self.bn1(self.conv1(pixels)))
        return self.layer3(self.layer2(self.layer1(x))).mean(dim=(2, 3))


FAMILIES = {"mobilenet_v1": MobileNetV1, "resnet": ResNet}

NETWORKS = {
    "mobilenet_tensorflow": dict(
        family="mobilenet_v1", image_size=64, channels=3, width_multiplier=0.07, padding="tensorflow",
        batch_norm_epsilon=1e-3,
    ),
    "mobilenet_pytorch": dict(
        family="mobilenet_v1", image_size=32, channels=1, width_multiplier=0.07, padding="pytorch",
        batch_norm_epsilon=1e-5,
    ),
    "resnet": dict(family="resnet", image_size=12, channels=3, width=4, depth=14, batch_norm_epsilon=1e-5),
}


def scatter(network):
    """Random weights that keep what goes through at its size, and statistics that have to be looked at."""
    for name, tensor in network.state_dict().items():
        field = name.rsplit(".", 1)[-1]
        if field == "running_var":
            tensor.copy_(0.5 + torch.rand_like(tensor))
        elif tensor.ndim == 4:
            inside = tensor[0].numel()
            tensor.copy_(torch.randn_like(tensor) * (2.0 / inside) ** 0.5)
        elif tensor.ndim == 1:
            tensor.copy_((field == "weight") + 0.2 * torch.randn_like(tensor))


def measured(network, pixels):
    """The statistics of `pixels`, as training measures them; but variances divided by the count, as training normalizes by."""
    counts = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            module.register_forward_hook(lambda _, x, __, name=name: counts.update({name: x[0].numel() // x[0].shape[1]}))
    network.train()(pixels)
    unbiased = {name: value for name, value in network.state_dict().items() if "running_" in name}
    share = lambda name: 1 - 1 / counts[name.rsplit(".", 1)[0]] if name.endswith("var") else 1.0  # noqa: E731
    return {f"measured.{name}": (value * share(name)).float() for name, value in unbiased.items()}


def main(folder):
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, config) in enumerate(NETWORKS.items(), start=1):
        torch.manual_seed(seed)
        arguments = {key: value for key, value in config.items() if key != "family"}
        network = FAMILIES[config["family"]](**arguments).eval()
        side = config["image_size"]
        with torch.no_grad():
            scatter(network)
            # Far enough from zero that ReLU6 cuts on both sides.
            pixels = 3.0 * torch.randn(3, config["channels"], side, side)
            tensors = {key: value.clone() for key, value in network.state_dict().items() if value.ndim > 0}
            features = network.double()(pixels.double()).float()
            tensors |= {"pixels": pixels, "features": features} | measured(network, pixels.double())
        (folder / f"{name}.json").write_text(json.dumps(config, indent=2) + "\n")
        save_file(tensors, folder / f"{name}.safetensors")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
