"""What scripts/bench-train measures against: training and reading images as people write it with PyTorch.

    bench_train_peer.py train --network resnet18 --format channels_last --precision float32 --batch 16 --threads 2 --steps 2
    bench_train_peer.py pipeline --labels labels.csv --side 224 --batch 16 --workers 2

It says `ready`, and then measures one round for each line on standard input: `step`, or `first` and `later` for an epoch
without and with augmentation. The answer is a JSON object with seconds, processor seconds and images.
"""

import argparse
import contextlib
import csv
import json
import pathlib
import resource
import sys
import time

import numpy
import pydicom
import torch
import torchvision
from torch.nn import functional


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train")
    training.set_defaults(prepare=train)
    training.add_argument("--network", required=True)
    training.add_argument("--format", choices=["contiguous_format", "channels_last"], required=True)
    training.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    training.add_argument("--device", default="cpu")
    training.add_argument("--threads", type=int, required=True)
    training.add_argument("--steps", type=int, required=True)
    reading = commands.add_parser("pipeline")
    reading.set_defaults(prepare=pipeline)
    reading.add_argument("--labels", type=pathlib.Path, required=True)
    reading.add_argument("--side", type=int, required=True)
    reading.add_argument("--workers", type=int, required=True)
    for command in (training, reading):
        command.add_argument("--batch", type=int, required=True)
    asked = parser.parse_args()
    measured = asked.prepare(asked)
    print("ready", flush=True)
    for line in sys.stdin:
        wall, processor = time.perf_counter(), on_processor()
        images = measured(line.strip())
        told = {"wall": time.perf_counter() - wall, "processor": on_processor() - processor, "images": images}
        print(json.dumps(told), flush=True)


def on_processor():
    """Seconds, with those of workers that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def train(asked):
    torch.set_num_threads(asked.threads)
    torch.manual_seed(1)
    layout = getattr(torch, asked.format)
    device = torch.device(asked.device)
    network = getattr(torchvision.models, asked.network)(num_classes=2).to(device, memory_format=layout).train()
    # AdamW in one pass over the parameters: the fastest that PyTorch has
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    batch = torch.rand(asked.batch, 3, 224, 224).to(memory_format=layout)
    known = torch.randint(0, 2, (asked.batch, 2)).float()
    if device.type == "cuda":
        batch, known = batch.pin_memory(), known.pin_memory()
    objective = torch.nn.BCEWithLogitsLoss()

    def step():
        optimizer.zero_grad(set_to_none=True)
        images, targets = (part.to(device, non_blocking=True) for part in (batch, known))
        mixed = asked.precision == "bfloat16"
        with torch.autocast(device.type, torch.bfloat16) if mixed else contextlib.nullcontext():
            loss = objective(network(images), targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        return loss.item()

    def steps(_):
        for _ in range(asked.steps):
            step()
        return asked.steps * asked.batch

    steps("")
    return steps


class Radiographs(torch.utils.data.Dataset):
    """DICOM files as the network sees them: bone bright, 0 to 1, padded to a square."""

    def __init__(self, labels, side, augment):
        with open(labels, newline="") as file:
            self.files = [labels.parent / row["file"] for row in csv.DictReader(file)]
        self.side, self.augment = side, augment

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        data = pydicom.dcmread(self.files[index])
        pixels = torch.from_numpy(pydicom.pixels.apply_modality_lut(data.pixel_array, data).astype(numpy.float32))
        low, high = numpy.percentile(pixels[::8, ::8], [0.5, 99.5])
        pixels = ((pixels - low) / max(high - low, 1)).clamp(0, 1)
        if data.PhotometricInterpretation == "MONOCHROME1":
            pixels = 1 - pixels
        rows, columns = pixels.shape
        scale = self.side / max(rows, columns)
        size = [max(round(rows * scale), 1), max(round(columns * scale), 1)]
        image = functional.interpolate(pixels[None, None], size, mode="bilinear", antialias=True, align_corners=False)
        below, right = self.side - size[0], self.side - size[1]
        image = functional.pad(image, [right // 2, right - right // 2, below // 2, below - below // 2])
        return self.changed(image)[0].expand(3, -1, -1) if self.augment else image[0].expand(3, -1, -1)

    def changed(self, image):
        """Turned, moved, magnified, mirrored; then gamma, contrast, brightness and noise, as a recipe of osteon-train has them."""
        one = lambda low, high: float(torch.empty(1).uniform_(low, high))
        angle, scale = numpy.radians(one(-10, 10)), one(0.9, 1.1)
        sine, cosine = numpy.sin(angle) / scale, numpy.cos(angle) / scale
        sign = -1.0 if torch.rand(1) < 0.5 else 1.0
        matrix = torch.tensor([[[cosine * sign, -sine, one(-0.1, 0.1)], [sine * sign, cosine, one(-0.1, 0.1)]]])
        grid = functional.affine_grid(matrix.float(), list(image.shape), align_corners=False)
        image = functional.grid_sample(image, grid, padding_mode="border", align_corners=False)
        image = (image.pow(one(0.75, 1.33)) - 0.5) * one(0.8, 1.2) + 0.5 + one(-0.05, 0.05)
        return (image + one(0, 0.01) * torch.randn_like(image)).clamp(0, 1)


def pipeline(asked):
    loaders = {
        kind: torch.utils.data.DataLoader(
            Radiographs(asked.labels, asked.side, kind == "later"),
            batch_size=asked.batch,
            shuffle=True,
            num_workers=asked.workers,
        )
        for kind in ("first", "later")
    }

    def epoch(kind):
        return sum(len(batch) for batch in loaders[kind])

    return epoch


main()
