"""Programs that are started and ended here, and the ports that they listen on."""

import pathlib
import socket
import subprocess
import time


def free_ports(count):
    """Ports of 127.0.0.1 that nobody listens on; all are held until the last is found, so that no two are the same."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Program:
    """A program that runs beside the checks, with its output in a log."""

    def __init__(self, name, command, folder, environment=None):
        self.name = name
        self.log = pathlib.Path(folder, f"{name}.log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment,
            )

    def wait_until(self, ready, seconds=120):
        """Waits until ready() is true; an error where the program ends before, or is not ready in time."""
        if not until(lambda: self.process.poll() is not None or ready(), seconds):
            raise RuntimeError(f"{self.name} is not ready after {seconds} s: {self.last_line()}")
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with status {self.process.returncode}: {self.last_line()}")

    def last_line(self):
        lines = self.log.read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def until(holds, seconds):
    """Asks again and again whether something holds; whether it came to hold in time."""
    end = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return True
        except OSError:
            pass  # nobody listens yet
        if time.monotonic() > end:
            return False
        time.sleep(0.1)


def run(*command, seconds=120):
    """Runs a program to its end; status and everything that it said."""
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds,
    )
    return done.returncode, done.stdout.decode(errors="replace")
