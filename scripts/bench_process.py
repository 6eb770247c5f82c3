"""Servers as processes: started, watched and stopped by scripts/bench."""

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


def busy(seconds):
    """The share of all cores that is in use, or taken by other machines on the same hardware, while nothing of ours runs."""

    def ticks():
        fields = [int(field) for field in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        idle, waiting = fields[3:5]
        return sum(fields), idle + waiting

    (all_before, idle_before) = ticks()
    time.sleep(seconds)
    (all_after, idle_after) = ticks()
    return 1 - (idle_after - idle_before) / max(all_after - all_before, 1)
