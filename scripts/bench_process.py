"""Servers as processes: started, watched and stopped by scripts/bench."""

import json
import os
import pathlib
import signal
import subprocess
import time
import urllib.request

import pinned_wheels

READY_WITHIN = 90


def start(command, url, log, **options):
    """Starts a server and waits until it is ready; gives the process and the seconds that took."""
    started = time.perf_counter()
    with open(log, "wb") as out:
        server = subprocess.Popen(
            [str(part) for part in command], stdout=out, stderr=subprocess.STDOUT, start_new_session=True, **options
        )
    while time.perf_counter() - started < READY_WITHIN:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                if answer.status == 200:
                    return server, time.perf_counter() - started
        except OSError:
            time.sleep(0.005)
    stop(server)
    raise pinned_wheels.FetchError(f"{command[0]} did not become ready; its log is {log}")


def stop(server):
    """Stops a server with all of its processes; one that does not listen is killed."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, how)
            server.wait(timeout=15)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass


def share_of_a_core(server, seconds):
    """How much of a core a process used while nobody asked it anything."""

    def used():
        fields = pathlib.Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = used()
    time.sleep(seconds)
    return (used() - before) / seconds


def stages(url, file, times):
    """The median of each stage of one image after the other, in milliseconds, as the answers tell them."""
    body, told = file.read_bytes(), []
    for _ in range(times):
        request = urllib.request.Request(url, body, {"Content-Type": "application/dicom"})
        with urllib.request.urlopen(request) as answer:
            told.append(json.load(answer)["timings_ms"])
    return {stage: sorted(one[stage] for one in told)[times // 2] for stage in told[0]}
