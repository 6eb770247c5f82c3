"""pynetdicom as a storage SCU that proposes much and breaks off, and as an archive that results are pushed to by C-STORE."""

import contextlib
import types
from functools import partial

import studies
from checks import check, equal
from osteon import AE_TITLE, CALLER, read
from processes import until
from pynetdicom import AE, AllStoragePresentationContexts
from pynetdicom.sop_class import DigitalXRayImageStorageForPresentation, Verification

# PS3.8 section 9.3.8, from the service user
A_ABORT = bytes([7, 0, 0, 0, 0, 4, 0, 0, 0, 0])


def associated(stage, contexts):
    entity = AE(ae_title=CALLER)
    entity.requested_contexts = contexts
    association = entity.associate("127.0.0.1", stage.osteon.dicom_port, ae_title=AE_TITLE)
    assert association.is_established, "the association is refused"
    return association


def one_context(abstract, *syntaxes):
    entity = AE()
    entity.add_requested_context(abstract, list(syntaxes) or None)
    return entity.requested_contexts


def is_kept(stage, image):
    return bool(stage.osteon.find("instances", SOPInstanceUID=image.SOPInstanceUID))


@check("C-ECHO is answered with success")
def echo(stage):
    association = associated(stage, one_context(Verification))
    equal("the status", association.send_c_echo().Status, 0x0000)
    association.release()


@check("C-STORE in each transfer syntax, in one association with 128 presentation contexts")
def many_contexts(stage):
    # one for each syntax, or the peer would choose
    own = [one_context(DigitalXRayImageStorageForPresentation, syntax)[0] for syntax in studies.SYNTAXES]
    others = [one for one in AllStoragePresentationContexts if one.abstract_syntax != own[0].abstract_syntax]
    association = associated(stage, (own + others)[:128])
    equal("contexts that are refused", [one.abstract_syntax for one in association.rejected_contexts], [])
    images = studies.study(instances=len(studies.SYNTAXES), syntaxes=studies.SYNTAXES)
    for image in images:
        equal(
            f"the status for {image.file_meta.TransferSyntaxUID.name}", association.send_c_store(image).Status, 0x0000
        )
    association.release()
    for image in images:
        found = read(stage.osteon.stored(image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID))
        equal("the transfer syntax", found.file_meta.TransferSyntaxUID, image.file_meta.TransferSyntaxUID)
        equal("the pixels", found.PixelData == image.PixelData, True)
        equal("the attributes", found, image)


@check("an association that ends in the middle of an instance leaves nothing of it, and what went before stays")
def ended(stage):
    for farewell in (A_ABORT, b""):
        first, second = studies.study(instances=2)
        association = associated(stage, one_context(DigitalXRayImageStorageForPresentation))
        equal("the status", association.send_c_store(first).Status, 0x0000)
        # the command, and two of the five PDUs of the data set
        sent = cut_after(association, 3, farewell)
        with contextlib.suppress(RuntimeError, ValueError):
            association.send_c_store(second)
        assert sent.is_cut, "all was sent before the end"
        equal("the instances of the study", stage.osteon.outcome(first.StudyInstanceUID)["instances"], 1)
        equal("what is kept", (is_kept(stage, first), is_kept(stage, second)), (True, False))
        retried = associated(stage, one_context(DigitalXRayImageStorageForPresentation))
        equal("the status of another try", retried.send_c_store(second).Status, 0x0000)
        retried.release()
        equal("what is kept", is_kept(stage, second), True)


def cut_after(association, count, farewell):
    """Ends the connection, with these bytes, when so many more PDUs have been sent."""
    connection = association.dul.socket
    send, state = connection.send, types.SimpleNamespace(left=count, is_cut=False)

    def sending(data):
        if state.left > 0:
            state.left -= 1
            return send(data)
        if not state.is_cut:
            state.is_cut = True
            if farewell:
                send(farewell)
            connection.close()

    connection.send = sending
    association.dimse_timeout = 1  # nobody will answer
    return state


@check("the report and the heat maps are pushed to it by C-STORE, as they are kept here")
def receives(stage):
    scored = stage.scored
    for file in [scored.report, *scored.captures]:
        made = read(file)
        arrived = until(partial(stage.storage.received.get, made.SOPInstanceUID), 60)
        assert arrived, f"{made.SOPClassUID.name} did not arrive"
        equal("the data set", stage.storage.received[made.SOPInstanceUID], made)
