"""An archive without DICOMweb: a storage SCP that keeps in memory what comes."""

import threading

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification


class StorageScp:
    AE_TITLE = "STORAGE"

    def __init__(self, port):
        self.port = port
        self.received = {}  # data sets by SOP Instance UID
        self.lock = threading.Lock()

    def start(self, _):
        entity = AE(ae_title=self.AE_TITLE)
        entity.supported_contexts = AllStoragePresentationContexts
        entity.add_supported_context(Verification)
        handlers = [(evt.EVT_C_STORE, self.keep)]
        self.server = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def keep(self, event):
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        with self.lock:
            self.received[dataset.SOPInstanceUID] = dataset
        return 0x0000

    def stop(self):
        if server := getattr(self, "server", None):
            server.shutdown()
