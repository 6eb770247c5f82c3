"""Takes files out of pinned Python packages and keeps them in the user's cache.

fetch-onnxruntime, fetch-libtorch, fetch-python-tests and check-chart are built on it. What it guarantees:
- a native library is only taken from a wheel whose sha256 is in the pins file;
- a folder in the cache is complete or absent: it is filled beside its place and renamed into it;
- a second run costs a few file look-ups and no network;
- a failure ends in one sentence that says what to do.

Wheels come through pip, so that whatever the site has set up for it (a mirror, a proxy, a
certificate) applies here too. Only Python's standard library is used.
"""

import fcntl
import hashlib
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile

# The interpreter that pip is told to choose wheels for. It need not be the one that runs this script: only
# files that do not depend on Python's version are taken, and one wheel for all means one hash for all.
WHEEL_PYTHON = "3.12"
# glibc baselines of the pinned wheels, newest first. pip matches these names literally, so each is listed.
GLIBC_BASELINES = ["manylinux_2_28", "manylinux_2_27", "manylinux_2_25", "manylinux_2_17", "manylinux2014"]
MINIMUM_GLIBC = (2, 28)
RECEIPT = ".receipt.json"


class FetchError(Exception):
    """One sentence for the person at the terminal."""


def say(message):
    """Progress goes to stderr: stdout carries the answer only."""
    print(message, file=sys.stderr, flush=True)


def run(main):
    """Calls main, and turns its failures into one sentence and exit status 1."""
    # A plain kill would skip the removal of a half-filled folder.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except FetchError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        sys.exit(f"error: {error.strerror or error}{where}.")


def cache_folder():
    """The per-user cache, the same one in which the server looks."""
    chosen = os.environ.get("OSTEON_CACHE")
    if chosen:
        return pathlib.Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base, "osteon").absolute()


def machine():
    """This machine's architecture as wheels name it, or a refusal."""
    system, architecture = platform.system(), platform.machine()
    architecture = {"AMD64": "x86_64", "arm64": "aarch64"}.get(architecture, architecture)
    if system != "Linux" or architecture not in ("x86_64", "aarch64"):
        raise FetchError(
            f"there is no pinned library for {system} on {architecture}: Linux on x86_64 and on aarch64 are supported; "
            "elsewhere, install the library yourself and name it as the README describes."
        )
    library, version = platform.libc_ver()
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if library != "glibc" or numbers < MINIMUM_GLIBC:
        raise FetchError(
            f"the pinned library needs glibc {'.'.join(map(str, MINIMUM_GLIBC))} or newer, and this system has "
            f"{(library + ' ' + version).strip() or 'another C library'}: use Debian 10, Ubuntu 20.04, RHEL 8 or newer."
        )
    return architecture


def pinned_version(pins, package):
    found = re.search(rf"^{re.escape(package)}==(\S+)", pins.read_text(), re.MULTILINE)
    if not found:
        raise FetchError(f"{pins.name} does not pin {package}: restore the file from the release.")
    return found.group(1)


def stated(pins):
    """The requirements of a pins file, without comments and empty lines."""
    lines = (line.split(" #")[0].strip() for line in pins.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def keep(name, decides, fill):
    """Returns <cache>/<name>, filled by fill(work, folder) where it is not there yet.

    decides lists all strings that determine the content: when one changes, the folder is made anew.
    work is scratch space that is removed afterwards, folder is what becomes <cache>/<name>."""
    cache = cache_folder()
    place = cache / name
    key = hashlib.sha256("\0".join(decides).encode()).hexdigest()
    if intact(place, key):
        return place
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = open(cache / f".{name}.lock", "w")
    except OSError as error:
        raise FetchError(
            f"the cache {cache} cannot be written ({error.strerror}): set OSTEON_CACHE to a folder that can."
        ) from error
    with lock:
        # Two builds started together fetch once; the lock goes when the process does, however it ends.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if intact(place, key):
            return place
        prefix = f".{name}-"
        # What a process left that was killed outright; nobody else is at work here while the lock is held.
        for remains in cache.glob(f"{prefix}*"):
            shutil.rmtree(remains, ignore_errors=True)
        # Inside the cache, so that the final rename stays within one file system.
        with tempfile.TemporaryDirectory(prefix=prefix, dir=cache) as work:
            work = pathlib.Path(work)
            folder = work / "folder"
            folder.mkdir()
            fill(work, folder)
            receipt = {"key": key, "files": sizes(folder)}
            (folder / RECEIPT).write_text(json.dumps(receipt))
            if place.exists():
                place.rename(work / "replaced")
            folder.rename(place)
    return place


def keep_wheel_files(name, pins, layout, fill):
    """keep() for files that fill(wheels, folder) takes out of the wheels of a pins file.

    wheels maps a distribution's name (with underscores) to its wheel. layout is the caller's number for what it
    takes and where it puts it: raised when that changes, since the pins alone would not tell."""
    architecture = machine()

    def download_and_fill(work, folder):
        fill(download(pins, architecture, work), folder)

    return keep(name, [architecture, f"layout {layout}", *stated(pins)], download_and_fill)


def keep_python_packages(name, pins, options=(), finish=None):
    """Installs a pins file into a folder of its own in the cache, for this interpreter; a path for PYTHONPATH.

    options are pip's; finish(folder) changes what was installed before it is kept.
    Not a virtual environment: that needs a further system package on Debian, and would not work with its pip alone."""
    python = f"{sys.implementation.cache_tag}-{platform.machine()}"

    def install(work, folder):
        command = ["install", *options, "--target", str(folder), "--only-binary=:all:", "--requirement", str(pins)]
        pip(command, work, pins)
        if finish:
            finish(folder)

    return keep(f"{name}-{python}", [python, *options, *stated(pins)], install)


def sizes(folder):
    """Length of every shared library below folder: what a broken disk or a clean-up job would spoil first."""
    return {
        str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*.so*") if path.is_file()
    }


def intact(place, key):
    try:
        receipt = json.loads((place / RECEIPT).read_text())
        same = receipt["key"] == key
        return same and all((place / file).stat().st_size == size for file, size in receipt["files"].items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def download(pins, architecture, work):
    """Downloads every wheel of the pins file; pip compares the hashes."""
    folder = work / "wheels"
    options = ["download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    options += ["--python-version", WHEEL_PYTHON, "--implementation", "cp"]
    for baseline in GLIBC_BASELINES:
        options += ["--platform", f"{baseline}_{architecture}"]
    options += ["--requirement", str(pins), "--dest", str(folder)]
    pip(options, work, pins)
    return {wheel.name.split("-")[0].lower(): wheel for wheel in folder.glob("*.whl")}


def pip(options, work, pins):
    """Runs pip with its progress on stderr: stdout must stay clean here."""
    log = work / "pip.log"
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--log", str(log), *options]
    # --no-cache-dir: what is kept is kept in our folder, and half a gigabyte should not be kept twice.
    command += ["--no-cache-dir", "--no-input"]
    say(f"fetching what scripts/pins/{pins.name} pins ...")
    # pip unpacks into TMPDIR, and /tmp is small on many machines.
    environment = {**os.environ, "TMPDIR": str(work)}
    done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, env=environment, text=True)
    if done.returncode != 0:
        told = log.read_text(errors="replace") if log.exists() else ""
        raise FetchError(reason(told + done.stderr, pins))


def reason(told, pins):
    """The sentence for what pip said."""
    if re.search(r"No module named '?(pip|ensurepip)", told):
        return "Python's pip is missing: install it (Debian and Ubuntu: apt-get install python3-pip) and run this again."
    if "DO NOT MATCH THE HASHES" in told:
        return (
            f"a downloaded file does not have the sha256 that {pins.name} demands and was thrown away: "
            "ask whoever runs your package mirror or proxy why it changes files."
        )
    if "No space left on device" in told:
        return f"the disk is full: free some space for {cache_folder()}, or set OSTEON_CACHE to a folder on another disk."
    if re.search(r"CERTIFICATE_VERIFY_FAILED|SSLError", told):
        return (
            "the package index's certificate is not trusted by this machine: set PIP_CERT to your proxy's "
            "certificate file and run this again."
        )
    if "ProxyError" in told:
        return "the proxy refuses the connection to the package index: check HTTPS_PROXY and run this again."
    network = r"ConnectionError|ConnectTimeout|ReadTimeout|Connection (refused|reset|aborted)|NameResolution|Max retries"
    if re.search(network, told):
        return (
            "the package index cannot be reached: check the network, or point pip at your mirror "
            "(PIP_INDEX_URL) or proxy (HTTPS_PROXY), and run this again."
        )
    if "No matching distribution found" in told:
        return (
            f"the package index does not offer what {pins.name} pins for this platform: ask whoever runs your "
            "package mirror to add it, or unset PIP_INDEX_URL and PIP_NO_INDEX."
        )
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return f"pip could not download what {pins.name} pins: {lines[-1] if lines else 'it gave no reason'}"


def extract(wheel, wanted, folder):
    """Writes each member of the wheel for which wanted(name) gives a relative path; returns how many."""
    count = 0
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            target = None if member.is_dir() else wanted(member.filename)
            if target is None:
                continue
            path = folder / target
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, open(path, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            count += 1
    return count
