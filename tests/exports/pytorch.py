"""The real MiniLM and ResNet-20, exported by both of PyTorch's exporters, and a tuned twin of each.

    python tests/exports/pytorch.py DATA OUT

DATA is the folder with `models/minilm_l6_v2` and `models/resnet20_cifar10`. Writes `MODEL_EXPORTER.onnx` and
`MODEL_tuned_EXPORTER.onnx` (exporters are called script and dynamo), the checkpoints `MODEL.safetensors` and
`MODEL_tuned.safetensors`, and `MODEL_inputs.safetensors`. Needs torch, transformers, onnxscript, onnx and safetensors.
"""

import pathlib
import sys

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import BertConfig, BertModel

data, out = pathlib.Path(sys.argv[1]) / "models", pathlib.Path(sys.argv[2])


class Block(nn.Module):
    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer)
        self.conv2, self.bn2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False), nn.BatchNorm2d(outer)
        self.added = outer - inner

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.added:
            # The shortcut without weights: every other pixel, and channels of zeros on both sides.
            x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added // 2, self.added // 2))
        return torch.relu(x + y)


class ResNet20(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        for number, (inner, outer) in enumerate(((16, 16), (16, 32), (32, 64)), start=1):
            first = Block(inner, outer, 1 if inner == outer else 2)
            setattr(self, f"layer{number}", nn.Sequential(first, Block(outer, outer, 1), Block(outer, outer, 1)))
        self.linear = nn.Linear(64, 10)

    def forward(self, pixels):
        x = torch.relu(self.bn1(self.conv1(pixels)))
        return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


class MiniLm(nn.Module):
    """The encoder alone, with the arrays that a tokenizer gives as its inputs."""

    def __init__(self) -> None:
        super().__init__()
        config = BertConfig.from_json_file(data / "minilm_l6_v2/config.json")
        config._attn_implementation = "eager"
        self.bert = BertModel(config, add_pooling_layer=False)

    def forward(self, input_ids, attention_mask, token_type_ids):
        arrays = {"attention_mask": attention_mask, "token_type_ids": token_type_ids}
        return self.bert(input_ids=input_ids, **arrays).last_hidden_state


def resnet20():
    model = ResNet20()
    model.load_state_dict(load_file(data / "resnet20_cifar10/model.safetensors"), strict=False)
    inputs = {"pixels": torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))}
    return model.eval(), model, inputs, "logits", ("batch",)


def minilm():
    model = MiniLm()
    weights = {name: tensor.float() for name, tensor in load_file(data / "minilm_l6_v2/model_fp16.safetensors").items()}
    model.bert.load_state_dict(weights, strict=False)
    ids = torch.randint(1000, 20000, (2, 9), generator=torch.Generator().manual_seed(1))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    return model.eval(), model.bert, inputs, "last_hidden_state", ("batch", "sequence")


def tune(model: nn.Module) -> None:
    random = torch.Generator().manual_seed(3)
    for name, weight in model.named_parameters():
        if weight.dim() >= 2 and "embeddings" not in name:
            chosen = torch.rand(weight.shape, generator=random) < 0.05
            weight.data += torch.randn(weight.shape, generator=random) * 1e-3 * chosen


def export(model, inputs, output, sides, name: str) -> None:
    given = {"args": tuple(inputs.values()), "input_names": list(inputs), "output_names": [output]}
    axes = {port: dict(enumerate(sides)) for port in [*inputs, output]}
    torch.onnx.export(model, f=out / f"{name}_script.onnx", dynamic_axes=axes, opset_version=17, dynamo=False, **given)
    shapes = tuple({axis: torch.export.Dim(side) for axis, side in enumerate(sides)} for _ in inputs)
    torch.onnx.export(model, f=out / f"{name}_dynamo.onnx", dynamic_shapes=shapes, dynamo=True, **given)


for name, make in (("resnet20", resnet20), ("minilm", minilm)):
    model, body, inputs, output, sides = make()
    save_file(inputs, out / f"{name}_inputs.safetensors")
    for variant in (name, f"{name}_tuned"):
        if variant != name:
            tune(body)
        export(model, inputs, output, sides, variant)
        save_file({key: tensor.contiguous() for key, tensor in body.state_dict().items()}, out / f"{variant}.safetensors")
