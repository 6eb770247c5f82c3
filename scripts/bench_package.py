"""Packages of osteon around the networks that scripts/bench measures with: a manifest says what their metadata cannot."""

import hashlib
import json
import subprocess
import sys

CLASSES = ["normal", "osteopenia", "osteoporosis"]
# tensors of one value: what the network gives for them is computed by a process of its own
PROGRAM = """
import sys, json, numpy, onnxruntime as o
s = o.InferenceSession(sys.argv[1])
size = int(sys.argv[2])
print(json.dumps([[v, s.run(None, {'input': numpy.full((1, 3, size, size), v, 'f4')})[0][0].tolist()] for v in (-1.5, 0.5)]))
"""


def package(name, onnx, size, models, python):
    """Writes models/<name>/1/ around a network from elsewhere with an input of size x size; gives its manifest."""
    folder = models / name / "1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(onnx.read_bytes())
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(onnx), str(size)], env=python, check=True, stdout=subprocess.PIPE
    )
    goldens = {
        "origin": "onnxruntime for Python on the CPU",
        "tolerance": 1e-4,
        "cases": [
            {"name": f"constant {value}", "input": {"kind": "constant", "value": value}, "scores": scores}
            for value, scores in json.loads(told.stdout)
        ],
    }
    (folder / "goldens.json").write_text(json.dumps(goldens, indent=2))
    manifest = {
        "manifest_version": 2,
        "name": name,
        "version": 1,
        "title": "Random weights, to measure with",
        "notice": "Random weights. Its scores mean nothing.",
        "licence": "Apache-2.0",
        "intended_use": {
            "statement": "Measuring speed.",
            "clinical": False,
            "modalities": ["DX"],
            "body_parts": ["KNEE"],
            "views": ["AP"],
            "age_years": [0, 120],
        },
        # what the peers do: the file's window, cv2.resize(INTER_AREA) to a square, ImageNet's mean and deviation
        "preprocessing": {
            "version": 1,
            "voi": "file-or-percentiles",
            "percentiles": [0.5, 99.5],
            "crop_border": False,
            "rows": size,
            "columns": size,
            "fit": "stretch",
            "filter": "box",
            "channels": 3,
            "range": [0.0, 1.0],
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "tensor": "input",
            "layout": "nchw",
            # of JPEG 2000; the peers decode the whole image
            "reduced_resolution": {"bound": 0.05},
        },
        # the load asks for an output of the peers' name
        "heads": [{
            "name": "probs",
            "task": "multiclass",
            "labels": [
                {"name": label, "code": {"scheme": "99BENCH", "value": label, "meaning": label}} for label in CLASSES
            ],
            "scores": "logits",
            "activation": "softmax",
        }],
        "lineage": {"made-by": "scripts/bench"},
        "files": {
            file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in ("model.onnx", "goldens.json")
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))
    return folder / "manifest.json"


# the network alone, in one thread: the least of five times twenty runs, in milliseconds of processor time
BARE = """
import sys, time, numpy, onnxruntime as o
options = o.SessionOptions()
options.intra_op_num_threads = 1
s = o.InferenceSession(sys.argv[1], options, providers=['CPUExecutionProvider'])
size = int(sys.argv[2])
x = numpy.random.default_rng(0).normal(size=(1, 3, size, size)).astype('f4')
s.run(None, {'input': x})
times = []
for _ in range(5):
    begun = time.process_time()
    for _ in range(20):
        s.run(None, {'input': x})
    times.append((time.process_time() - begun) / 20 * 1e3)
print(min(times))
"""

# a network that averages: input [batch, 3, size, size], logits [batch, 3]
MEAN = """
import sys, numpy, onnx
from onnx import helper as h, numpy_helper as n, TensorProto as t
size = int(sys.argv[2])
g = h.make_graph(
    [h.make_node('GlobalAveragePool', ['input'], ['pooled']), h.make_node('Flatten', ['pooled'], ['mean']),
     h.make_node('Gemm', ['mean', 'weights'], ['logits'])], 'mean',
    [h.make_tensor_value_info('input', t.FLOAT, ['batch', 3, size, size])],
    [h.make_tensor_value_info('logits', t.FLOAT, ['batch', 3])], [n.from_array(numpy.eye(3, dtype='f4'), 'weights')])
m = h.make_model(g, opset_imports=[h.make_opsetid('', 17)], ir_version=8)
onnx.save(m, sys.argv[1])
"""
