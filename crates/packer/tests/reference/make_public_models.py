"""Writes public_models.safetensors: what PyTorch computes with public checkpoints on real pictures.

    python make_public_models.py DATA [OUTPUT FOLDER]

DATA is the folder of shared data. Each checkpoint is read as it was published and computed as its authors' code does, Keras'
layouts and paddings included; nothing is taken from the importer that is tested with it. For each model its features and the
numbers of the classes that it answers, for the first pictures of two test sets of 32 by 32 pixels, enlarged where the model
wants more. Computed in f64 and rounded once. Needs torch, numpy and safetensors.
"""

import gzip
import pathlib
import struct
import sys

import numpy
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

PICTURES = 3
SETS = ["trashnet", "fruits3"]


def pictures(data):
    """`[pictures, channels, height, width]`, 0 to 1."""
    found = []
    for name in SETS:
        raw = gzip.decompress((data / "vision" / name / "test-images.idx4-ubyte.gz").read_bytes())
        count, height, width, channels = struct.unpack(">4I", raw[4:20])
        shape = (count, height, width, channels)
        images = numpy.frombuffer(raw, numpy.uint8, offset=20).reshape(shape)[:PICTURES]
        found.append(torch.from_numpy(images.copy()).double().permute(0, 3, 1, 2) / 255)
    return torch.cat(found)


def mobilenet(tensors, x):
    """Keras' MobileNet, layer by layer by Keras' names, up to the global average pooling."""

    def norm(x, layer):
        gamma, beta = tensors[f"{layer}/gamma"], tensors[f"{layer}/beta"]
        mean, variance = tensors[f"{layer}/moving_mean"], tensors[f"{layer}/moving_variance"]
        x = functional.batch_norm(x, mean, variance, gamma, beta, training=False, eps=1e-3)
        return functional.relu6(x)

    def spatial(x, kernel, stride, groups):
        x = functional.pad(x, (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))
        return functional.conv2d(x, kernel, stride=stride, groups=groups)

    x = norm(spatial(x, tensors["conv1/kernel"].permute(3, 2, 0, 1), 2, 1), "conv1_bn")
    for block in range(1, 14):
        kernel = tensors[f"conv_dw_{block}/depthwise_kernel"].permute(2, 3, 0, 1)
        stride = 2 if block in (2, 4, 6, 12) else 1
        x = norm(spatial(x, kernel, stride, x.shape[1]), f"conv_dw_{block}_bn")
        x = norm(functional.conv2d(x, tensors[f"conv_pw_{block}/kernel"].permute(3, 2, 0, 1)), f"conv_pw_{block}_bn")
    return x.mean(dim=(2, 3))


def resnet(tensors, x):
    """akamaster's ResNets by their names, up to the average pooling."""

    def norm(x, layer):
        names = ["running_mean", "running_var", "weight", "bias"]
        return functional.batch_norm(x, *[tensors[f"{layer}.{name}"] for name in names], training=False, eps=1e-5)

    x = functional.relu(norm(functional.conv2d(x, tensors["conv1.weight"], padding=1), "bn1"))
    for layer in range(1, 4):
        block = 0
        while (name := f"layer{layer}.{block}") + ".conv1.weight" in tensors:
            stride = 2 if layer > 1 and block == 0 else 1
            out = functional.conv2d(x, tensors[f"{name}.conv1.weight"], stride=stride, padding=1)
            out = functional.relu(norm(out, f"{name}.bn1"))
            out = norm(functional.conv2d(out, tensors[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if stride == 2:
                planes = out.shape[1]
                x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, planes // 4, planes // 4), "constant", 0)
            x = functional.relu(out + x)
            block += 1
    return x.mean(dim=(2, 3))


def main(data, folder):
    x = pictures(data)
    models = data / "models"

    def double(tensors):
        return {name: tensor.double() for name, tensor in tensors.items()}

    published = torch.load(models / "resnet20_cifar10" / "resnet20-12fca82f.th", map_location="cpu")["state_dict"]
    resnets = {
        "resnet20_cifar10": {name.removeprefix("module."): tensor for name, tensor in published.items()},
        "resnet56_cifar10": load_file(models / "resnet56_cifar10" / "model.safetensors"),
    }
    mean, std = [torch.tensor(three).double().view(1, 3, 1, 1) for three in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
    found = {}
    for name, tensors in resnets.items():
        tensors = double(tensors)
        features = resnet(tensors, (x - mean) / std)
        found[name] = (features, features @ tensors["linear.weight"].T + tensors["linear.bias"])
    tensors = double(load_file(models / "mobilenet_v1_025_imagenet" / "model.safetensors"))
    for name, side in [("mobilenet_v1_025", 224), ("mobilenet_v1_025_96", 96)]:
        large = functional.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
        features = mobilenet(tensors, (large - 0.5) / 0.5)
        found[name] = (features, features @ tensors["conv_preds/kernel"][0, 0] + tensors["conv_preds/bias"])
    saved = {}
    for name, (features, logits) in found.items():
        saved[f"{name}.features"] = features.float()
        saved[f"{name}.classes"] = logits.argmax(dim=1).to(torch.int32)
    save_file(saved, folder / "public_models.safetensors")


if __name__ == "__main__":
    with torch.no_grad():
        main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else pathlib.Path(__file__).parent)
