"""What the checks play on: osteon with its peers, and a study that it has scored.

The peers that osteon sends results to are there from the start, as they would be in a hospital: Orthanc by DICOMweb, and a storage SCP by
DIMSE.
"""

import functools
import os
import pathlib
import shutil
import tempfile

import studies
from orthanc import Orthanc
from osteon import Osteon
from page_server import PageServer
from processes import free_ports
from storage_scp import StorageScp


class Stage:
    def __init__(self, repository, program, viewer, output):
        self.repository = repository
        self.output = output
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="osteon-interop-"))
        self.is_kept = False
        web, dicom, orthanc, archive, page = free_ports(5)
        self.page = PageServer(viewer, page, f"http://127.0.0.1:{web}/dicom-web")
        self.orthanc = Orthanc(self.folder, orthanc)
        self.storage = StorageScp(archive)
        self.osteon = Osteon(repository, program.absolute(), self.folder, web, dicom)
        self.parts = [self.page, self.orthanc, self.storage, self.osteon]

    def __enter__(self):
        self.output.mkdir(parents=True, exist_ok=True)
        self.started = []
        try:
            for part in self.parts:
                self.started.append(part)
                part.start(self)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for part in reversed(self.started):
            part.stop()
        if not self.is_kept:
            shutil.rmtree(self.folder, ignore_errors=True)

    def keep(self):
        """Leaves the data and the logs where they are."""
        self.is_kept = True
        return self.folder

    def note(self, text):
        """For whoever wants to know more than one line."""
        with open(self.folder / "checks.log", "a") as log:
            log.write(text + os.linesep)

    def write(self, name, content):
        """A file of this run."""
        path = self.folder / name
        path.write_bytes(content)
        return path

    @functools.cached_property
    def scored(self):
        """A study of two radiographs with its result, as osteon's own DICOMweb has it."""
        images = studies.study(instances=2)
        self.osteon.store(images)
        return self.osteon.scored(images)
