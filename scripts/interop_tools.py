"""What `make interop` meets osteon with, fetched and installed where it is missing.

scripts/fetch-interop and tests/interop are built on it. Python packages and the viewer go into the cache, pinned; Debian's
programs are taken as they are installed, and installed where this is root on Debian or Ubuntu.
"""

import base64
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

import pinned_wheels
from pinned_wheels import FetchError, say

PINS = pathlib.Path(__file__).resolve().parent / "pins"
# What is looked for, and the package that has it.
PROGRAMS = {
    "Orthanc": "orthanc",
    "echoscu": "dcmtk",
    "dciodvfy": "dicom3tools",
    "chromium": "chromium",
}
ORTHANC_PLUGINS = pathlib.Path("/usr/share/orthanc/plugins")
DICOMWEB_PLUGIN = ORTHANC_PLUGINS / "libOrthancDicomWeb.so"


def python_packages():
    """The folder of the pinned Python packages."""
    return pinned_wheels.keep_python_packages("interop", PINS / "interop.txt", options=["--no-deps"])


def viewer():
    """The folder of the built viewer, a page with its scripts."""
    pins = PINS / "interop-npm.txt"
    package, integrity = pinned_wheels.stated(pins)[0].split()
    return pinned_wheels.keep(
        "interop-viewer", [package, integrity], lambda work, folder: unpack(package, integrity, work, folder)
    )


def unpack(package, integrity, work, folder):
    npm = shutil.which("npm")
    if npm is None:
        raise FetchError("npm is missing: install Node.js with npm and run this again.")
    say(f"fetching {package} ...")
    command = [npm, "pack", "--json", "--ignore-scripts", "--pack-destination", str(work), package.replace("==", "@")]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True)
    if done.returncode != 0:
        told = [line for line in done.stderr.splitlines() if line.strip()] or ["it gave no reason"]
        raise FetchError(f"npm could not fetch {package}: {told[0]}")
    (archive,) = work.glob("*.tgz")
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if integrity != f"sha512-{digest}":
        raise FetchError(
            f"{package} does not have the integrity that interop-npm.txt demands: ask whoever runs your npm mirror "
            "why it changes files."
        )
    built = "package/dist/"
    with tarfile.open(archive) as members:
        for member in members:
            if member.isfile() and member.name.startswith(built):
                member.name = member.name.removeprefix(built)
                members.extract(member, folder, filter="data")
    if not (folder / "index.html").is_file():
        raise FetchError(f"{package} holds no built viewer: check interop-npm.txt.")


def programs():
    """Makes sure that Debian's programs are there."""
    missing = lacking()
    if not missing:
        return
    by_hand = f"apt-get install --no-install-recommends {' '.join(missing)}"
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise FetchError(f"{', '.join(missing)} not installed: as root, {by_hand}")
    with open(pinned_wheels.cache_folder() / ".interop-programs.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = lacking()
        if missing:
            install(missing)
    if lacking():
        raise FetchError(
            f"{', '.join(lacking())} installed, and what is needed of them is not there: look at them by hand."
        )


def installed(program):
    """Where a program is; Debian has servers where only root's path leads."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))


def lacking():
    missing = [package for program, package in PROGRAMS.items() if installed(program) is None]
    if not DICOMWEB_PLUGIN.is_file():
        missing.append("orthanc-dicomweb")
    return missing


def install(packages):
    say(f"installing {', '.join(packages)} ...")
    # RUNLEVEL: so that, where there is no systemd, nothing that is installed is started as a service, too
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
    for command in ([*apt, "update"], [*apt, "install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            told = [line for line in done.stderr.splitlines() if line.strip()] or ["it gave no reason"]
            raise FetchError(f"{' '.join(command)}: {told[-1]}")


def everything():
    """Fetches all; the folders of the Python packages and of the viewer."""
    if sys.version_info < (3, 11):
        raise FetchError("the checks need Python 3.11 or newer: put one first in PATH as python3.")
    folders = python_packages(), viewer()
    programs()
    return folders
