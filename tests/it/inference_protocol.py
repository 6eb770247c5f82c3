"""The Open Inference Protocol as NVIDIA's own client speaks it: `inference_protocol.py HOST:PORT FILE.dcm`.

The model `both` is that of tests/it/tiny.rs: its logits are the mean of the input, and minus the mean.
"""

import sys
import time

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

MODEL = "both"
client = triton.InferenceServerClient(sys.argv[1], concurrency=4)
file = open(sys.argv[2], "rb").read()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def expected(means):
    means = np.asarray(means)[:, None]
    return np.hstack([sigmoid(means), sigmoid(-means)])


def same(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def tensor(values, binary=True, datatype="FP32", name="image"):
    given = triton.InferInput(name, list(values.shape), datatype)
    given.set_data_from_numpy(values, binary_data=binary)
    return given


def dicom(files, shape):
    given = triton.InferInput("dicom", shape, "BYTES")
    return given.set_data_from_numpy(np.array(files, dtype=np.object_).reshape(shape), binary_data=True)


def refused(call, status, *words):
    try:
        call()
    except InferenceServerException as error:
        assert error.status() == status, error
        for word in words:
            assert word in error.message(), (word, error.message())
    else:
        raise AssertionError(f"not refused: {words}")


# what there is
assert client.is_server_live() and client.is_server_ready()
assert client.is_model_ready(MODEL) and client.is_model_ready(MODEL, "3")
assert not client.is_model_ready("nothing") and not client.is_model_ready(MODEL, "7")
server = client.get_server_metadata()
assert server["name"] == "osteon" and "binary_tensor_data" in server["extensions"], server
metadata = client.get_model_metadata(MODEL)
assert metadata["versions"] == ["3"], metadata
assert metadata["inputs"] == [
    {"name": "image", "datatype": "FP32", "shape": [-1, 1, 16, 16]},
    {"name": "dicom", "datatype": "BYTES", "shape": [-1, 1]},
], metadata
assert [output["name"] for output in metadata["outputs"]] == ["findings", "probabilities", "logits", "embedding"], metadata
assert metadata["outputs"][0]["parameters"]["labels"] == ["bright", "dark"], metadata
config = client.get_model_config(MODEL, "3")
assert config["max_batch_size"] == 64 and config["input"][0]["dims"] == [1, 16, 16], config
assert config["output"][0] == {"name": "findings", "data_type": "TYPE_FP32", "dims": [2]}, config

# a batch, as bytes and as JSON, and each output by name
means = np.linspace(-2, 2, 5)
batch = np.repeat(means.astype(np.float32), 256).reshape(5, 1, 16, 16)
result = client.infer(MODEL, [tensor(batch)], request_id="7", priority=1, timeout=20_000_000)
answer = result.get_response()
assert answer["id"] == "7" and answer["model_version"] == "3" and len(answer["parameters"]["digest"]) == 64, answer
assert [output["name"] for output in answer["outputs"]] == ["findings"], answer
assert result.as_numpy("findings").dtype == np.float32
same(result.as_numpy("findings"), expected(means))
names = ["embedding", "logits", "findings"]
for binary in (True, False):
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
    result = client.infer(MODEL, [tensor(batch, binary=binary)], model_version="3", outputs=outputs)
    same(result.as_numpy("findings"), expected(means))
    same(result.as_numpy("logits"), np.stack([means, -means], 1))
    same(result.as_numpy("embedding"), means[:, None] * [0.5, 0.25, 0.25])
result = client.infer(MODEL, [tensor(batch.astype(np.float16), datatype="FP16")])
same(result.as_numpy("findings"), expected(means.astype(np.float16).astype(np.float32)))
same(client.async_infer(MODEL, [tensor(batch)]).get_result().as_numpy("findings"), expected(means))

# files
one = client.infer(MODEL, [dicom([file], [1, 1])])
assert one.get_response()["parameters"]["intended_use"] == "met"
score = one.as_numpy("findings")
assert score.shape == (1, 2) and 0.5 < score[0, 0] < 1, score
three = client.infer(MODEL, [dicom([file] * 3, [3])]).as_numpy("findings")
same(three, np.repeat(score, 3, axis=0))

# what it did: 25 prepared images and 4 files, each run alone
def spent(stage):
    (found,) = client.get_inference_statistics(MODEL)["model_stats"]
    return found["inference_stats"][stage]


assert "statistics" in server["extensions"], server
(done,) = client.get_inference_statistics()["model_stats"]
assert (done["name"], done["version"]) == (MODEL, "3"), done
assert (done["inference_count"], done["execution_count"]) == (29, 29), done
assert 0 <= time.time() * 1000 - done["last_inference"] < 60_000, done
parts = ["queue", "compute_input", "compute_infer", "compute_output"]
assert all(spent(stage)["count"] == 29 for stage in ["success", *parts]), done
assert 0 < sum(spent(stage)["ns"] for stage in parts) < spent("success")["ns"], done
assert spent("fail") == {"count": 0, "ns": 0}, done
(batches,) = done["batch_stats"]
assert batches["batch_size"] == 1, done
assert all(batches[stage] == spent(stage) for stage in ["compute_input", "compute_output"]), done
assert batches["compute_infer"]["count"] == 29, done
assert 0 < batches["compute_infer"]["ns"] <= spent("compute_infer")["ns"], done
assert client.get_inference_statistics(MODEL, "3")["model_stats"] == [done]

# what cannot be
wrong = np.zeros((1, 1, 16, 15), np.float32)
refused(lambda: client.infer(MODEL, [tensor(wrong)]), "400", "[1, 1, 16, 15]", "[batch, 1, 16, 16]")
refused(lambda: client.infer(MODEL, [tensor(batch.astype(np.float64), datatype="FP64")]), "400", "FP32")
refused(lambda: client.infer(MODEL, [tensor(batch, name="x")]), "400", "image", "dicom")
asked = [triton.InferRequestedOutput("x")]
refused(lambda: client.infer(MODEL, [tensor(batch)], outputs=asked), "400", "findings, probabilities, logits, embedding")
refused(lambda: client.infer(MODEL, [dicom([file, b"no file"], [2, 1])]), "400", "image 2 of 2")
# the other image was answered before, or given up
assert spent("success")["count"] in (29, 30) and spent("fail")["count"] == 1
refused(lambda: client.infer("nothing", [tensor(batch)]), "404", "both")
refused(lambda: client.get_inference_statistics(MODEL, "7"), "404", "this server has 3")
refused(lambda: client.get_system_shared_memory_status(), "404", "/v2")

# the repository
assert client.get_model_repository_index() == [{"name": MODEL, "version": "3", "state": "READY", "reason": ""}]
client.unload_model(MODEL)
assert not client.is_model_ready(MODEL)
assert client.get_model_repository_index()[0]["state"] == "UNAVAILABLE"
refused(lambda: client.get_inference_statistics(MODEL), "503")
client.load_model(MODEL)
assert client.is_model_ready(MODEL)
assert spent("success") == {"count": 0, "ns": 0}
same(client.infer(MODEL, [tensor(batch)]).as_numpy("findings"), expected(means))
refused(lambda: client.load_model("nothing"), "404")
refused(lambda: client.load_model(MODEL, config="{}"), "400", "config")

print("every word was understood")
