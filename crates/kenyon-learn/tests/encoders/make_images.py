"""Makes the tiny random encoders of pictures in this folder, and the vectors that transformers and timm give.

Needs torch, transformers, timm, safetensors and pillow: python make_images.py
"""

import base64
import io
import json
import pathlib
import shutil

import numpy
import timm
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from timm.models import efficientnet as timm_efficientnet

HERE = pathlib.Path(__file__).parent


def pictures():
    """Four pictures as PNG: noise, a slope, a tall grey one, a small one with transparency."""
    draw = numpy.random.default_rng(7)
    noise = draw.integers(0, 256, size=(40, 56, 3), dtype="uint8")
    down, across = numpy.mgrid[0:90, 0:70]
    slope = numpy.stack([down * 2, across * 3, (down + across) % 256], axis=-1).astype("uint8")
    tall = draw.integers(0, 256, size=(97, 31), dtype="uint8")
    small = draw.integers(0, 256, size=(9, 12, 4), dtype="uint8")
    made = []
    for pixels in (noise, slope, tall, small):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png", optimize=True)
        made.append(file.getvalue())
    return made


def randomise(network):
    """Weights of a size at which every layer matters, and statistics as a trained network has."""
    torch.manual_seed(7)
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if not tensor.is_floating_point():
            continue
        with torch.no_grad():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith("running_mean"):
                tensor.normal_(0, 0.2)
            elif tensor.ndim > 1:
                inputs = tensor[0].numel()
                tensor.normal_(0, 1.2 / inputs**0.5)
            else:
                tensor.normal_(0.8 if name.endswith("weight") or "lambda" in name else 0, 0.2)
    return network.eval()


def positions_by_size(embeddings):
    """The positions of DINOv2 at another size as transformers computes them since 4.46; before, scales were a little off."""

    def interpolate(found, height, width):
        table = embeddings.position_embeddings
        side, patch = round((table.shape[1] - 1) ** 0.5), embeddings.config.patch_size
        patches = table[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        size = (height // patch, width // patch)
        patches = torch.nn.functional.interpolate(patches, size=size, mode="bicubic", align_corners=False)
        return torch.cat((table[:, :1], patches.permute(0, 2, 3, 1).reshape(1, -1, table.shape[2])), dim=1)

    embeddings.interpolate_pos_encoding = interpolate


def write(folder, vectors):
    rows = [[round(float(x), 7) for x in vector] for vector in vectors]
    shown = [base64.b64encode(picture).decode() for picture in pictures()]
    (folder / "expected.json").write_text(json.dumps({"pictures": shown, "vectors": rows}))


def opened():
    return [Image.open(io.BytesIO(picture)).convert("RGB") for picture in pictures()]


def published(name, network, processor, vector):
    """A folder of transformers."""
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    randomise(network).save_pretrained(folder)
    processor.save_pretrained(folder)
    with torch.no_grad():
        made = [vector(network(**processor(images=picture, return_tensors="pt"))) for picture in opened()]
    write(folder, [one.flatten().numpy() for one in made])


def by_timm(name):
    """A folder of timm, a narrow EfficientNet-Lite."""
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    settings = {
        "input_size": [3, 48, 48], "interpolation": "bicubic", "crop_pct": 0.875, "crop_mode": "center",
        "mean": [0.498, 0.498, 0.498], "std": [0.502, 0.502, 0.502],
    }
    network = timm_efficientnet._gen_efficientnet_lite(
        "tf_efficientnet_lite0", channel_multiplier=0.1, depth_multiplier=0.5, pretrained=False, num_classes=0,
        pad_type="same",
    )
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1e-3
    network = randomise(network)
    save_file(network.state_dict(), folder / "model.safetensors")
    config = {"architecture": "tf_efficientnet_lite0", "num_features": network.num_features, "pretrained_cfg": settings}
    (folder / "config.json").write_text(json.dumps(config))
    look = {key: settings[key] for key in ("interpolation", "crop_pct", "mean", "std")}
    transform = timm.data.create_transform(input_size=(3, 48, 48), **look)
    with torch.no_grad():
        made = [network(transform(picture)[None]) for picture in opened()]
    write(folder, [one.flatten().numpy() for one in made])


if __name__ == "__main__":
    first = lambda found: found.last_hidden_state[:, 0]
    pooled = lambda found: found.pooler_output
    shared = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
    vit = transformers.ViTConfig(**shared, intermediate_size=24, image_size=32, patch_size=8)
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    published("vit", transformers.ViTModel(vit, add_pooling_layer=False), processor, first)
    dino = transformers.Dinov2Config(**shared, mlp_ratio=2, image_size=56, patch_size=8)
    processor = transformers.BitImageProcessor(
        size={"shortest_edge": 48}, crop_size={"height": 40, "width": 40}, resample=3,
        image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225],
    )
    network = transformers.Dinov2Model(dino)
    positions_by_size(network.embeddings)
    published("dinov2", network, processor, first)
    for kind in ("basic", "bottleneck"):
        resnet = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[16, 24], depths=[2, 1], layer_type=kind)
        processor = transformers.ConvNextImageProcessor(
            size={"shortest_edge": 40}, crop_pct=0.875, resample=3,
            image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225],
        )
        published(f"resnet-{kind}", transformers.ResNetModel(resnet), processor, pooled)
    efficient = transformers.EfficientNetConfig(
        image_size=47, width_coefficient=0.25, depth_coefficient=1.0, hidden_dim=320,
        kernel_sizes=[3, 5, 3], in_channels=[32, 32, 48], out_channels=[32, 48, 64], strides=[1, 2, 2],
        num_block_repeats=[1, 2, 1], expand_ratios=[1, 4, 4], depthwise_padding=[],
    )
    processor = transformers.EfficientNetImageProcessor(size={"height": 47, "width": 47})
    published("efficientnet", transformers.EfficientNetModel(efficient), processor, pooled)
    by_timm("efficientnet-lite")
