"""Makes the torch of the package index importable without the gigabytes of CUDA libraries that it is linked against.

On a machine without a GPU none of their functions is ever called, but the loader wants every library and every name. Here each gets a
stand-in: a library of the same name whose functions end the process. Only for tests: torch then computes on the CPU alone.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from pinned_wheels import FetchError

# What is loaded by `import torch`.
LOADED = ["libtorch_cuda.so", "libtorch_python.so", "libc10_cuda.so", "libtorch_cpu.so"]
# Small, and called even where there is no GPU: these stay real.
REAL = ["libcudart.so.13", "libcupti.so.13"]
STOOD_IN = re.compile(r"lib(cu|nccl|nvshmem|torch_nvshmem)")
# Names without a version of their own, of the libraries that do not version them.
UNVERSIONED = re.compile(r"(cu[a-zA-Z]|nccl|nvshmem|_Z.*nvshmem)")


def stand_in(packages):
    """Puts the stand-ins into packages/torch/lib."""
    library = packages / "torch" / "lib"
    for name in REAL:
        found = next(packages.glob(f"nvidia/*/lib/{name}"), None)
        if found is None:
            raise FetchError(f"{name} is in none of the pinned packages: restore scripts/pins/import-tests.txt.")
        shutil.copy(found, library / name)
    needed, wanted = set(), {}
    for name in LOADED:
        listed = tool("readelf", "-dW", library / name)
        needed.update(name for name in re.findall(r"\(NEEDED\).*\[(.*)\]", listed) if STOOD_IN.match(name))
        for line in tool("nm", "-D", "--undefined-only", library / name).splitlines():
            symbol, _, version = line.split()[-1].partition("@")
            if version or UNVERSIONED.match(symbol):
                wanted.setdefault(version, set()).add(symbol)
    for name in sorted(needed - set(REAL)):
        # a versioned library's version has its own name; all names without one go into a single library
        symbols = wanted.get("" if name.startswith("libnccl") else name, set())
        compile_one(library / name, symbols, versioned=name in wanted)


def compile_one(path, symbols, versioned):
    code = "".join(f"void {symbol}(void) {{ __builtin_trap(); }}\n" for symbol in sorted(symbols))
    path.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as work:
        options = ["-shared", "-fPIC", "-w", "-fno-builtin", f"-Wl,-soname,{path.name}"]
        if versioned:
            script = Path(work, "versions")
            script.write_text(f"{path.name} {{ *; }};\n")
            options.append(f"-Wl,--version-script={script}")
        source = Path(work, "stand-in.c")
        source.write_text(code)
        tool("cc", *options, "-o", path, source)


def tool(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise FetchError(
            f"{command[0]} failed ({getattr(error, 'stderr', '') or error}): install a C compiler with its binutils."
        ) from error
