"""The server that is tried, and plain requests to it."""

import dataclasses
import io
import json
import os

import pydicom
from client import Client
from processes import Program, until

SR = "1.2.840.10008.5.1.4.1.1.88.34"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
AE_TITLE = "OSTEON"
CALLER = "INTEROP"
SETTLED = ["scored", "refused", "failed"]


@dataclasses.dataclass
class Scored:
    """A study with its result."""

    images: list
    study: str
    answer: dict  # GET /v1/studies/{study}
    report: bytes  # the structured report, as it is stored
    captures: list  # the heat maps, as they are stored


class Osteon:
    def __init__(self, repository, program, folder, web, dicom):
        self.repository, self.program, self.folder = repository, program, folder
        self.dicom_port = dicom
        self.url = f"http://127.0.0.1:{web}"
        self.web = f"{self.url}/dicom-web"
        self.listen = f"127.0.0.1:{web}"
        self.http = Client()

    def start(self, stage):
        settings = self.folder / "osteon.toml"
        settings.write_text(configuration(self.dicom_port, stage))
        command = [self.program, "serve", "--config", settings, "--listen", self.listen]
        command += ["--models", self.repository / "models", "--data", self.folder / "data"]
        # nothing of this shell's settings, but where the cache is
        own = {name: value for name, value in os.environ.items() if not name.startswith("OSTEON_")}
        if cache := os.environ.get("OSTEON_CACHE"):
            own["OSTEON_CACHE"] = cache
        self.running = Program("osteon", command, self.folder, own)
        self.running.wait_until(lambda: self.http.get(f"{self.url}/health/ready").ok)

    def stop(self):
        if running := getattr(self, "running", None):
            running.stop()

    def stow(self, parts, study="", accept="application/dicom+json"):
        """STOW-RS of these byte strings; the answer, whatever it is."""
        head = b"--interop\r\nContent-Type: application/dicom\r\n\r\n"
        body = b"".join(head + part + b"\r\n" for part in parts) + b"--interop--\r\n"
        kind = 'multipart/related; type="application/dicom"; boundary=interop'
        place = f"{self.web}/studies/{study}" if study else f"{self.web}/studies"
        return self.http.post(place, data=body, headers={"Content-Type": kind, "Accept": accept})

    def store(self, datasets):
        """Stores data sets, all of them; the bytes that were sent."""
        files = [encoded(dataset) for dataset in datasets]
        answer = self.stow(files)
        assert answer.status_code == 200, f"STOW-RS answered {answer.status_code}: {answer.text[:300]}"
        return files

    def get(self, path, accept=None, **query):
        """A GET below /dicom-web that must succeed."""
        answer = self.http.get(f"{self.web}/{path}", params=query, headers={"Accept": accept} if accept else None)
        assert answer.status_code == 200, f"GET {path} answered {answer.status_code}: {answer.text[:300]}"
        return answer

    def find(self, level, **query):
        """QIDO-RS: what is found, as data sets."""
        found = self.get(level, "application/dicom+json", **query).json()
        return [pydicom.Dataset.from_json(json.dumps(one)) for one in found]

    def stored(self, study, series, instance):
        """WADO-RS: the file as it is kept."""
        path = f"studies/{study}/series/{series}/instances/{instance}"
        return self.get(path, "application/dicom; transfer-syntax=*").content

    def outcome(self, study, seconds=120):
        """GET /v1/studies/{study}, once the study has its outcome."""
        state = {}

        def is_settled():
            answer = self.http.get(f"{self.url}/v1/studies/{study}")
            state.update(answer.json() if answer.ok else {"state": f"status {answer.status_code}"})
            return state["state"] in SETTLED

        assert until(is_settled, seconds), f"the study is still {state.get('state')} after {seconds} s"
        return state

    def scored(self, images, seconds=120):
        """The study of these images with its report and its heat maps, which are made after the result."""
        study = images[0].StudyInstanceUID
        answer = self.outcome(study)
        assert answer["state"] == "scored", f"the study is {answer['state']}: {answer['result']}"

        def made():
            found = self.find(f"studies/{study}/instances")
            return [one for one in found if one.SOPClassUID in (SR, SECONDARY_CAPTURE)]

        assert until(made, seconds), f"there is no structured report in the study after {seconds} s"
        files = {SR: [], SECONDARY_CAPTURE: []}
        for one in made():
            files[one.SOPClassUID].append(self.stored(study, one.SeriesInstanceUID, one.SOPInstanceUID))
        assert len(files[SR]) == 1, f"there are {len(files[SR])} structured reports in the study"
        return Scored(images, study, answer, files[SR][0], files[SECONDARY_CAPTURE])


def configuration(dicom_port, stage):
    return f"""
quiet-seconds = 1
# dicomweb-client leaves the port out of the Host header
public-url = "{stage.osteon.url}"
dicom-listen = "127.0.0.1:{dicom_port}"
dicom-ae-title = "{AE_TITLE}"
cors-origins = "{stage.page.url}"

[[dicom-callers]]
ae-title = "{CALLER}"
hosts = ["127.0.0.1"]

[[dicom-callers]]
ae-title = "{stage.orthanc.AE_TITLE}"
hosts = ["127.0.0.1"]

[[destinations]]
name = "orthanc"
kind = "stow"
use = ["results", "studies"]
url = "{stage.orthanc.web}"

[[destinations]]
name = "storage"
kind = "dimse"
host = "127.0.0.1"
port = {stage.storage.port}
called-ae-title = "{stage.storage.AE_TITLE}"
"""


def encoded(dataset):
    """A data set as a file."""
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def read(file):
    """A file as a data set."""
    return pydicom.dcmread(io.BytesIO(file))
