"""The servers that scripts/bench measures against: what they need, and how each is started.

Each is what a hospital's engineer would otherwise run: FastAPI with one and with two workers, LitServe, BentoML, MLServer,
Triton with its Python backend. Their programs lie in the folder of the peers; their packages are pinned in pins/ and kept in
the user's cache, apart from each other, because they do not agree on versions.
"""

import os
import shutil
import sys
import sysconfig
import venv

import pinned_wheels

PINS = pinned_wheels.pathlib.Path(__file__).resolve().parent / "pins"
# raised when triton() makes something else of the same wheels, since the pins alone would not tell
TRITON_LAYOUT = "layout 2"
# the port and the address that says ready, by the name that the load knows each server by
PLACES = {
    "fastapi": (18001, "/health"),
    "fastapi2": (18002, "/health"),
    "litserve": (18003, "/health"),
    "bentoml": (18004, "/readyz"),
    "mlserver": (18005, "/v2/health/ready"),
    "triton": (18006, "/v2/health/ready"),
}


def packages():
    """What all of them and the makers of model and files share; a path for PYTHONPATH."""
    return pinned_wheels.keep_python_packages("bench", PINS / "bench.txt")


def own_packages(name):
    """What one server needs beside that, or in another version."""
    pins = PINS / f"peer-{name}.txt"
    if not pins.exists():
        return None
    if name == "triton":
        decides = [sys.implementation.cache_tag, TRITON_LAYOUT, *pinned_wheels.stated(pins)]
        return pinned_wheels.keep(f"peer-{name}", decides, triton)
    return pinned_wheels.keep_python_packages(f"peer-{name}", pins, options=["--no-deps"])


def triton(work, folder):
    """Triton's wheel brings one stub for each version of Python; the backend wants it beside itself, and wheels make nothing
    executable. The stub looks for packages where the first Python on PATH does, and not in PYTHONPATH."""
    options = ["install", "--no-deps", "--target", str(folder), "--only-binary=:all:"]
    pinned_wheels.pip([*options, "--requirement", str(PINS / "peer-triton.txt")], work, PINS / "peer-triton.txt")
    server = folder / "pytriton" / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "backends" / "python" / "triton_python_backend_stub"
    shutil.copy(server / "python_backend_stubs" / version / stub.name, stub)
    for program in (server / "bin" / "tritonserver", stub):
        program.chmod(0o755)
    venv.create(folder / "venv", symlinks=True, with_pip=False)


def command(name, servers, model):
    """The command, environment and folder that start one server with a model."""
    port, _ = PLACES[name]
    own, shared = own_packages(name), packages()
    path = [str(servers), *([str(own)] if own else []), str(shared)]
    settings = dict(
        os.environ, PEER_MODEL=str(model), PEER_THREADS="1", PEER_DIR=str(servers), OMP_NUM_THREADS="1",
        PYTHONPATH=os.pathsep.join(path), PYTHONDONTWRITEBYTECODE="1", DO_NOT_TRACK="1", BENTOML_DO_NOT_TRACK="True",
    )
    if name in ("fastapi", "fastapi2"):
        # one process uses one core for most of its work; two are what a hospital would run on two cores
        workers = "2" if name == "fastapi2" else "1"
        started = [sys.executable, "-m", "uvicorn", "fastapi_app:app", "--log-level", "warning"]
        started += ["--port", str(port), "--workers", workers]
    elif name == "litserve":
        started = [sys.executable, "litserve_app.py", str(port)]
    elif name == "bentoml":
        started = [sys.executable, own / "bin" / "bentoml", "serve", "bento_app:Peer", "--host", "127.0.0.1"]
        started += ["--port", str(port)]
    elif name == "mlserver":
        settings |= {
            "MLSERVER_HTTP_PORT": str(port), "MLSERVER_GRPC_PORT": "18015", "MLSERVER_METRICS_PORT": "18025",
            "MLSERVER_PARALLEL_WORKERS": "2", "MLSERVER_HOST": "127.0.0.1", "MLSERVER_DEBUG": "false",
        }
        started = [sys.executable, own / "bin" / "mlserver", "start", "mlserver_repo"]
    else:
        server = own / "pytriton" / "tritonserver"
        settings["PATH"] = f"{own / 'venv' / 'bin'}{os.pathsep}{settings['PATH']}"
        site = own / "venv" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
        (site / "bench.pth").write_text("\n".join(path))
        settings["LD_LIBRARY_PATH"] = sysconfig.get_config_var("LIBDIR")
        started = [server / "bin" / "tritonserver", "--model-repository", servers / "triton" / "repo"]
        started += ["--backend-directory", server / "backends", "--http-address", "127.0.0.1", "--http-port", str(port)]
        started += ["--grpc-port", "18016", "--metrics-port", "18026", "--log-warning", "true"]
        started += ["--disable-auto-complete-config"]
    return started, settings, servers
