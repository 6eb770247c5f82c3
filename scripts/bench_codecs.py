"""Processor time from bytes to stored values, for every way in which the same image comes: osteon's and Python's best."""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
# the most that decoding may take of the best Python decoder's time, by transfer syntax
SYNTAXES = {
    "raw": 0.3, "deflated": 0.6, "rle": 0.5, "jll": 0.35, "jpeg8": 0.9, "jpeg12": 0.9, "jpls": 0.95, "j2k": 0.9, "htj2k": 1.2,
}
# in one run, one after the other, so that both meet the same machine; the least of all runs counts
ROUNDS, RUNS = 4, 3


def table(decode, work, radiograph, python):
    folder = work / "dicom"
    raw = radiograph("raw")
    if not (folder / "jpeg12_2048x2500.dcm").exists():
        made = folder / "jpeg12_2048x2500.dcm"
        subprocess.run([sys.executable, HERE / "bench_decode.py", "jpeg12", raw, made], env=python, check=True)
    ours = [decode, str(RUNS)]
    theirs = [sys.executable, HERE / "bench_decode.py", "time", str(RUNS)]
    print("\n| transfer syntax | osteon ms | Python ms | ratio | allowed | Python's fastest |\n|---|---|---|---|---|---|")
    missed = []

    def row(name, file, allowed, options=()):
        one, other = [], []
        for _ in range(ROUNDS):
            one.append(float(told(ours + [*options, file])))
            milliseconds, plugin = told(theirs + [file], python).split()
            other.append((float(milliseconds), plugin))
        best, plugin = min(other)
        ratio = min(one) / best
        print(f"| {name} | {min(one):.1f} | {best:.1f} | {ratio:.2f} | {allowed} | {plugin} |", flush=True)
        if ratio > allowed:
            missed.append(name)

    for name, allowed in SYNTAXES.items():
        row(name, folder / f"{name}_2048x2500.dcm", allowed)
    # at a quarter of the sides; Python decodes the whole image
    row("j2k for an input of 224 x 224", folder / "j2k_2048x2500.dcm", 0.15, ["--input", "224x224"])
    row("htj2k for an input of 224 x 224", folder / "htj2k_2048x2500.dcm", 0.15, ["--input", "224x224"])
    print(f"over what is allowed: {', '.join(missed)}" if missed else "all within what is allowed", flush=True)


def told(command, environment=None):
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
