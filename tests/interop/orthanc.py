"""Orthanc with its DICOMweb plugin: an archive that sends, receives and gives."""

import contextlib
import json

from client import Client
from interop_tools import DICOMWEB_PLUGIN, installed
from processes import Program


class Orthanc:
    AE_TITLE = "ORTHANC"

    def __init__(self, folder, web):
        self.folder = folder / "orthanc"
        self.web_port = web
        self.url = f"http://127.0.0.1:{web}"
        self.web = f"{self.url}/dicom-web"
        self.http = Client()

    def start(self, stage):
        self.folder.mkdir()
        osteon = stage.osteon
        settings = {
            "Name": "interop",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "Plugins": [str(DICOMWEB_PLUGIN)],
            "HttpPort": self.web_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": self.AE_TITLE,
            # it listens on every address, and is not needed for sending
            "DicomServerEnabled": False,
            # for Orthanc.forwards_everything
            "ExecuteLuaEnabled": True,
            "DicomModalities": {"osteon": ["OSTEON", "127.0.0.1", osteon.dicom_port]},
            "DicomWeb": {
                "Enable": True,
                "Root": "/dicom-web/",
                "Servers": {"osteon": {"Url": f"{osteon.web}/", "ChunkedTransfers": True, "HasDelete": False}},
            },
        }
        file = self.folder / "orthanc.json"
        file.write_text(json.dumps(settings))
        self.running = Program("orthanc", [installed("Orthanc"), file], self.folder)
        self.running.wait_until(lambda: self.http.get(f"{self.web}/studies").ok)

    def stop(self):
        if running := getattr(self, "running", None):
            running.stop()

    def get(self, path):
        answer = self.http.get(f"{self.url}/{path}")
        answer.raise_for_status()
        return answer

    def post(self, path, body):
        """A POST that must succeed; what it answers."""
        answer = self.http.post(f"{self.url}/{path}", json=body)
        assert answer.ok, f"POST {path} answered {answer.status_code}: {answer.text[:300]}"
        return answer.json()

    @contextlib.contextmanager
    def forwards_everything(self):
        """Sends on to osteon, by C-STORE, whatever arrives, wherever it comes from."""
        self.run("function OnStoredInstance(id, tags, metadata) SendToModality(id, 'osteon') end")
        try:
            yield
        finally:
            self.run("OnStoredInstance = nil")

    def run(self, lua):
        answer = self.http.post(f"{self.url}/tools/execute-script", data=lua)
        answer.raise_for_status()

    def jobs(self):
        """The states of all that it was to do."""
        return [job["State"] for job in self.get("jobs?expand").json()]

    def add(self, file):
        """Puts a file into the archive; its identifier there."""
        answer = self.http.post(f"{self.url}/instances", data=file)
        answer.raise_for_status()
        return answer.json()["ID"]

    def find(self, study):
        """The SOP Instance UIDs that it holds of a study."""
        found = self.http.get(f"{self.web}/studies/{study}/instances")
        return {one["00080018"]["Value"][0] for one in found.json()} if found.ok and found.content else set()

    def file(self, instance):
        """The file of a SOP Instance UID, or nothing where the archive does not hold it."""
        found = self.http.post(f"{self.url}/tools/lookup", data=instance).json()
        own = [one["ID"] for one in found if one["Type"] == "Instance"]
        return self.get(f"instances/{own[0]}/file").content if own else None
