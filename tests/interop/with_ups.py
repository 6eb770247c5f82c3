"""A worklist manager orders a score by UPS-RS and follows it to its end (IHE AIW-I)."""

from xml.etree import ElementTree

import studies
from checks import check, equal
from processes import until
from pydicom.uid import generate_uid

JSON = {"Content-Type": "application/dicom+json", "Accept": "application/dicom+json"}


def element(vr, *values):
    return {"vr": vr, "Value": list(values)}


def order(images):
    """A workitem for a study that is stored here."""
    references = [
        {"00081150": element("UI", image.SOPClassUID), "00081155": element("UI", image.SOPInstanceUID)}
        for image in images
    ]
    series = {"0020000D": element("UI", images[0].StudyInstanceUID), "00081199": element("SQ", *references)}
    return [
        {
            "00741000": element("CS", "SCHEDULED"),
            "00741200": element("CS", "HIGH"),
            "00741204": element("LO", "Score"),
            "00404041": element("CS", "READY"),
            "00404005": element("DT", "20261129120000"),
            "00100020": element("LO", images[0].PatientID),
            "00404021": element("SQ", series),
        }
    ]


def state(stage, workitem):
    answer = stage.osteon.get(f"workitems/{workitem}", "application/dicom+json").json()
    return answer[0]["00741000"]["Value"][0], answer[0]


@check("an order for a stored study is created, performed and completed, and names the results")
def performed(stage):
    images = studies.study()
    stage.osteon.store(images)
    workitem = generate_uid(None)
    answer = stage.osteon.http.post(f"{stage.osteon.web}/workitems?{workitem}", json=order(images), headers=JSON)
    equal("the status", answer.status_code, 201)
    equal("the place", answer.headers.get("Location"), f"{stage.osteon.web}/workitems/{workitem}")
    ended = until(lambda: state(stage, workitem)[0] in ("COMPLETED", "CANCELED"), 120)
    found, shown = state(stage, workitem)
    equal("the state", (ended, found), (True, "COMPLETED"))
    performed = shown["00741216"]["Value"][0]
    outputs = {
        reference["00081155"]["Value"][0]
        for output in performed["00404033"]["Value"]
        for reference in output["00081199"]["Value"]
    }
    stored = {one.SOPInstanceUID for one in stage.osteon.find(f"studies/{images[0].StudyInstanceUID}/instances")}
    assert outputs and outputs <= stored, "the results that it names are not in the study"


@check("workitems are found by their patient, and there is only one of each UID")
def found(stage):
    workitem = generate_uid(None)
    place = f"{stage.osteon.web}/workitems?{workitem}"
    images = studies.study()
    statuses = [stage.osteon.http.post(place, json=order(images), headers=JSON).status_code for _ in range(2)]
    equal("the statuses", statuses, [201, 409])
    query = {"00100020": images[0].PatientID}
    answer = stage.osteon.http.get(f"{stage.osteon.web}/workitems", params=query, headers=JSON)
    equal("what is found", [one["00080018"]["Value"][0] for one in answer.json()], [workitem])


@check("a state is not changed without the transaction of who performs it")
def refused(stage):
    workitem = generate_uid(None)
    foreign = [
        {"00741204": element("LO", "Reconstruct"), "00404025": element("SQ", {"00080100": element("SH", "CT-1")})}
    ]
    place = f"{stage.osteon.web}/workitems"
    stage.osteon.http.post(f"{place}?{workitem}", json=foreign, headers=JSON).raise_for_status()
    mine, other = generate_uid(None), generate_uid(None)

    def change(to, transaction):
        request = [{"00741000": element("CS", to), "00081195": element("UI", transaction)}]
        answer = stage.osteon.http.put(f"{place}/{workitem}/state", json=request[0], headers=JSON)
        return answer.status_code, "Warning" in answer.headers

    equal("claimed", change("IN PROGRESS", mine)[0], 200)
    equal("completed by another", change("COMPLETED", other), (400, True))
    equal("canceled by its own", change("CANCELED", mine)[0], 200)


@check("a workitem is sent as XML and comes back in both forms")
def xml(stage):
    workitem = generate_uid(None)
    attribute = '<DicomAttribute tag="{}" vr="{}" keyword="{}"><Value number="1">{}</Value></DicomAttribute>'
    label = attribute.format("00741204", "LO", "ProcedureStepLabel", "Recon &amp; more")
    document = f"<NativeDicomModel>{label}</NativeDicomModel>"
    place = f"{stage.osteon.web}/workitems"
    kind = {"Content-Type": "application/dicom+xml"}
    equal("the status", stage.osteon.http.post(f"{place}?{workitem}", data=document, headers=kind).status_code, 201)
    equal("the label in JSON", state(stage, workitem)[1]["00741204"]["Value"], ["Recon & more"])
    answer = stage.osteon.get(f"workitems/{workitem}", 'multipart/related; type="application/dicom+xml"')
    text = answer.content.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
    name = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"
    labels = [
        found.findtext(f"{name}Value")
        for found in ElementTree.fromstring(text).findall(f"{name}DicomAttribute")
        if found.get("tag") == "00741204"
    ]
    equal("the label in XML", labels, ["Recon & more"])
