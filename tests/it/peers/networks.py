"""Every published network by its own package: weights as its package saves them, and what it makes of an image.

    networks.py OUT

Weights are seeded and random (none are downloaded). For each case OUT gets the file of weights, and CASE.reference.safetensors with
`input` and `logits`, and `grey` and `grey_logits` for one channel that the package is given three times. cases.json lists them: family,
file and, for a package that is not there, `missing`. The files are of every kind that can be met: a safetensors file in 32 or 16 bits, a
PyTorch archive with the weights alone, inside a training's checkpoint or behind a wrapper's name, and what PyTorch wrote before 1.6.
"""

import json
import pathlib
import re
import sys
import warnings

warnings.simplefilter("ignore")
OUT = pathlib.Path(sys.argv[1])
LABELS = 3


def torchvision(name, **options):
    import torchvision.models

    return getattr(torchvision.models, name)(weights=None, num_classes=LABELS, **options)


def timm(name):
    import timm

    return timm.create_model(name, pretrained=False, num_classes=LABELS)


def alive(network, images):
    """Scales, offsets and statistics as after training on `images` and others: every layer counts, and no value explodes."""
    import torch

    norms = []
    normed = any(isinstance(module, (torch.nn.BatchNorm2d, torch.nn.LayerNorm)) for module in network.modules())
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)) and not normed:
                # what no norm brings back would fade from layer to layer
                torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.LayerNorm)):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
            if isinstance(module, torch.nn.BatchNorm2d):
                norms.append(module)
        for name, parameter in network.named_parameters():
            if name.endswith(("layer_scale", "gamma")):
                parameter.uniform_(0.1, 0.5)
        network.eval()
        for norm in norms:
            norm.train()
            norm.momentum = 1.0
        if norms:
            network(torch.cat([*images, torch.randn(4, *images[0].shape[1:])]))
    return network.eval()


def zipped(network, path):
    import torch

    torch.save(network.state_dict(), path)


def wrapped(network, path):
    """As a training on several GPUs saves it."""
    import torch

    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    torch.save({"epoch": 7, "state_dict": state, "optimizer": optimizer.state_dict(), "best": 0.5}, path)


def legacy(network, path):
    """As torchvision's own DenseNet was saved, with the names of then."""
    import torch

    old = re.compile(r"(denselayer\d+\.(?:norm|conv))(\d)\.")
    state = {old.sub(r"\1.\2.", name): tensor for name, tensor in network.state_dict().items()}
    torch.save(state, path, _use_new_zipfile_serialization=False)


def channels_last(network, path):
    """Kernels that lie in another order in memory, as some trainings leave them."""
    import torch

    torch.save(network.to(memory_format=torch.channels_last).state_dict(), path)


def safe(network, path):
    from safetensors.torch import save_file

    save_file(network.state_dict(), path)


def half(network, path):
    """In 16 bits; the network goes on with what is left of its weights."""
    from safetensors.torch import save_file

    save_file(network.half().state_dict(), path)
    network.float()


def brain(network, path):
    import torch

    torch.save(network.bfloat16().state_dict(), path)
    network.float()


SMALL = (96, 80)
WHOLE = (224, 224)
CASES = [
    ("resnet18", lambda: torchvision("resnet18"), SMALL, zipped, ".pth"),
    ("resnet34", lambda: timm("resnet34"), SMALL, safe, ".safetensors"),
    ("resnet50", lambda: torchvision("resnet50"), SMALL, wrapped, ".pth"),
    ("densenet121", lambda: torchvision("densenet121"), SMALL, legacy, ".pth"),
    ("convnext_tiny", lambda: torchvision("convnext_tiny"), SMALL, channels_last, ".pth"),
    ("convnext_tiny", lambda: timm("convnext_tiny"), SMALL, safe, ".safetensors"),
    ("efficientnet_b0", lambda: torchvision("efficientnet_b0"), SMALL, brain, ".pth"),
    ("efficientnet_b0", lambda: timm("efficientnet_b0"), SMALL, safe, ".safetensors"),
    ("vgg16", lambda: timm("vgg16"), WHOLE, half, ".safetensors"),
    ("inception_v3", lambda: torchvision("inception_v3", init_weights=False), (107, 91), zipped, ".pth"),
    ("xception", lambda: timm("legacy_xception"), SMALL, safe, ".safetensors"),
    ("alexnet", lambda: torchvision("alexnet"), WHOLE, zipped, ".pth"),
]


def run(network, image):
    import torch

    with torch.no_grad():
        return network(image)


def case(family, build, size, save, ending, number):
    import torch
    from safetensors.torch import save_file

    # one thread: these networks are small enough that several only wait for each other on a busy machine
    torch.set_num_threads(1)
    torch.manual_seed(number)
    image = torch.randn(1, 3, *size)
    grey = image[:, :1].clone()
    # what the published weights of Inception want is -1 to 1; torchvision makes it of ImageNet's mean and deviation by itself
    transformed = family == "inception_v3"
    mean, std = (torch.tensor(three)[:, None, None] for three in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    seen = (image * std + mean - 0.5) / 0.5 if transformed else image
    network = alive(build(), [seen, grey.repeat(1, 3, 1, 1)])
    name = f"{number}-{family}"
    save(network, OUT / (name + ending))
    reference = {"input": seen, "grey": grey, "grey_logits": run(network, grey.repeat(1, 3, 1, 1))}
    network.transform_input = transformed
    reference["logits"] = run(network, image)
    save_file(reference, OUT / f"{name}.reference.safetensors")
    return {"family": family, "name": name, "file": name + ending, "rows": size[0], "columns": size[1]}


def main():
    cases = []
    for number, (family, build, size, save, ending) in enumerate(CASES):
        try:
            cases.append(case(family, build, size, save, ending, number))
        except ImportError as error:
            cases.append({"family": family, "missing": str(error)})
    (OUT / "cases.json").write_text(json.dumps(cases, indent=1))


main()
