"""STOW-RS by hand: requests that no well-behaved client makes, and what is answered for each of their parts."""

import studies
from checks import check, equal
from osteon import encoded
from pydicom.uid import generate_uid

# Failure Reason (0008,1197)
OTHER_STUDY, CANNOT_UNDERSTAND, TRANSFER_SYNTAX = 0xA900, 0xC000, 0xC122


def sequence(answer, tag):
    return answer.get(tag, {}).get("Value", [])


def value(item, tag):
    return item.get(tag, {}).get("Value", [None])[0]


def foreign_syntax():
    """A radiograph that says it is compressed in a way that nobody knows."""
    dataset = studies.radiograph()
    unknown = generate_uid(None)
    plain = encoded(dataset)
    # of the same length, so that nothing else changes
    known = dataset.file_meta.TransferSyntaxUID.encode()
    assert plain.count(known) == 1
    padded = len(known) + len(known) % 2
    return plain.replace(known.ljust(padded, b"\0"), unknown[:padded].rstrip(".").encode().ljust(padded, b"\0"))


@check(
    "a good part is stored, a corrupt one, one of another study and one of an unknown transfer syntax are refused with their codes"
)
def mixed(stage):
    good, other = studies.radiograph(), studies.radiograph()
    corrupt = encoded(studies.radiograph(study=good.StudyInstanceUID))[:400]
    answer = stage.osteon.stow([encoded(good), corrupt, encoded(other), foreign_syntax()], good.StudyInstanceUID)
    equal("the status", answer.status_code, 202)
    body = answer.json()
    equal("what is stored", [value(item, "00081155") for item in sequence(body, "00081199")], [good.SOPInstanceUID])
    reasons = [value(item, "00081197") for item in sequence(body, "00081198")]
    equal("the reasons", reasons, [CANNOT_UNDERSTAND, OTHER_STUDY, TRANSFER_SYNTAX])
    equal("the place", value(body, "00081190"), f"{stage.osteon.web}/studies/{good.StudyInstanceUID}")


@check("where nothing can be stored the status is 409, with a reason for each part")
def nothing_stored(stage):
    answer = stage.osteon.stow([b"no DICOM", b"", encoded(studies.radiograph())[:200], foreign_syntax()])
    equal("the status", answer.status_code, 409)
    reasons = [value(item, "00081197") for item in sequence(answer.json(), "00081198")]
    equal("the reasons", reasons, [CANNOT_UNDERSTAND] * 3 + [TRANSFER_SYNTAX])


@check("a request that is no multipart is 400, and a media type that is none of DICOM's 415")
def wrong_requests(stage):
    place = f"{stage.osteon.web}/studies"
    kind = 'multipart/related; type="application/dicom"; boundary=interop'
    cut = stage.osteon.http.post(place, data=b"no boundary", headers={"Content-Type": kind})
    other = stage.osteon.http.post(place, data=b"{}", headers={"Content-Type": "text/plain"})
    equal("the statuses", (cut.status_code, other.status_code), (400, 415))


@check("what is sent twice is stored once, and acknowledged twice")
def twice(stage):
    files = [encoded(studies.radiograph())] * 2
    equal("the status", stage.osteon.stow(files).status_code, 200)
    again = stage.osteon.stow(files[:1])
    equal("the status", again.status_code, 200)
    uid = value(sequence(again.json(), "00081199")[0], "00081155")
    equal("what is found", len(stage.osteon.find("instances", SOPInstanceUID=uid)), 1)
