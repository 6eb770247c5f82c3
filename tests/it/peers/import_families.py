"""Real exports of the families that `osteon models import` has recipes for, and what each makes of one DICOM file.

    import_families.py FILE.dcm OUT

Every network is built by its own package with seeded weights (none are downloaded) and written by that package's way to ONNX; every
image goes through the package's own transforms. For each family OUT gets NAME.onnx, NAME.npy (the input tensor) and an entry in
families.json: the options of the import and the probabilities by PyTorch. A family whose package is missing has `missing` instead.
"""

import json
import pathlib
import sys
import warnings

warnings.simplefilter("ignore")
FILE, OUT = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])


def displayed():
    """The grey image under the file's window, 0 to 1, bright bone: what pydicom makes of it."""
    import numpy
    import pydicom
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    dataset = pydicom.dcmread(FILE)
    values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset).astype(numpy.float64)
    values /= 2**dataset.BitsStored - 1
    return 1 - values if dataset.PhotometricInterpretation == "MONOCHROME1" else values


def picture(channels):
    import torch

    return torch.from_numpy(displayed()).float()[None].repeat(channels, 1, 1)


def export(name, network, tensor, activation, options, opset=17):
    """Writes the network by torch's exporter, and keeps what PyTorch itself computes."""
    import numpy
    import torch

    network.eval()
    batch = tensor[None].float().contiguous()
    with torch.no_grad():
        scores = network(batch)
        answer = {"none": lambda x: x, "sigmoid": torch.sigmoid, "softmax": lambda x: x.softmax(1)}[activation]
        probabilities = answer(scores)[0].tolist()
        torch.onnx.export(
            network,
            (batch,),
            str(OUT / f"{name}.onnx"),
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
            opset_version=opset,
            dynamo=False,
        )
    numpy.save(OUT / f"{name}.npy", batch[0].numpy())
    return {"options": options, "labels": len(probabilities), "probabilities": probabilities}


def torchvision_family():
    import torchvision
    from torchvision.transforms._presets import ImageClassification

    tensor = ImageClassification(crop_size=224)(picture(3))
    network = torchvision.models.resnet18(weights=None, num_classes=2)
    return export("torchvision", network, tensor, "sigmoid", ["--activation", "sigmoid"])


def timm_family():
    import timm
    import torch

    network = timm.create_model("resnet10t", pretrained=False, num_classes=3)
    config = timm.data.resolve_model_data_config(network)
    config.update(input_size=(3, 224, 224), interpolation="bicubic", crop_pct=0.95)
    tensor = timm.data.create_transform(**config, is_training=False)(picture(3))
    # bicubic overshoots at edges: Pillow's pictures, which timm is trained on, saturate there, and tensors do not
    mean, std = (torch.tensor(config[name])[:, None, None] for name in ("mean", "std"))
    tensor = torch.minimum(torch.maximum(tensor, (0 - mean) / std), (1 - mean) / std)
    return export(
        "timm", network, tensor, "softmax", ["--activation", "softmax", "--crop-pct", "0.95"]
    )


def torchxrayvision_family():
    import torch
    import torchxrayvision

    image = torchxrayvision.utils.read_xray_dcm(FILE)[None]
    image = torchxrayvision.datasets.XRayCenterCrop()(image)
    image = torchxrayvision.datasets.XRayResizer(224)(image)
    network = torchxrayvision.models.DenseNet(
        num_classes=2, num_init_features=16, growth_rate=8, block_config=(2, 2, 2, 2),
        # op_norm cannot be exported: it assigns under masks, whose sizes the exporter takes for fixed
        apply_sigmoid=True,
    )
    # without trained weights, values of a thousand would saturate every output
    network.features.conv0.weight.data /= 1024
    return export("torchxrayvision", network, torch.from_numpy(image), "none", [])


def monai_family():
    from monai.networks.nets import DenseNet
    from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Resize, ScaleIntensity

    steps = [
        LoadImage(image_only=True, reader="PydicomReader"),
        EnsureChannelFirst(),
        ScaleIntensity(),
        Resize((224, 192)),
    ]
    tensor = Compose(steps)(str(FILE)).as_tensor()
    network = DenseNet(
        spatial_dims=2, in_channels=1, out_channels=1, init_features=16, growth_rate=8, block_config=(2, 2, 2)
    )
    return export("monai", network, tensor, "sigmoid", [])


def keras_family():
    import os

    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    image = picture(3).permute(1, 2, 0)[None]
    image = keras.layers.Resizing(224, 224)(image)
    tensor = keras.applications.imagenet_utils.preprocess_input(image * 255, mode="tf", data_format="channels_last")
    network = keras.Sequential([
        keras.Input((224, 224, 3)),
        keras.layers.Conv2D(8, 5, strides=4, activation="relu"),
        keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(2, activation="sigmoid"),
    ])
    return export("keras", network, tensor[0], "none", [])


def main():
    families = {}
    for name, family in [
        ("torchvision", torchvision_family),
        ("timm", timm_family),
        ("torchxrayvision", torchxrayvision_family),
        ("monai", monai_family),
        ("keras", keras_family),
    ]:
        try:
            import torch

            torch.manual_seed(1)
            families[name] = family()
        except ImportError as error:
            families[name] = {"missing": str(error)}
    (OUT / "families.json").write_text(json.dumps(families, indent=1))


main()
