"""Orthanc, an archive that many hospitals run: sends by STOW-RS and C-STORE, receives results, and gives studies that are ordered."""

import time
from functools import partial

import studies
from checks import check, equal
from osteon import SECONDARY_CAPTURE, SR, encoded, read
from processes import until


def sent(stage, images):
    """Puts images into the archive; their identifiers there."""
    return [stage.orthanc.add(encoded(image)) for image in images]


def at_home(stage, images):
    found = stage.osteon.find(f"studies/{images[0].StudyInstanceUID}/instances")
    return {one.SOPInstanceUID for one in found if one.SOPClassUID not in (SR, SECONDARY_CAPTURE)}


@check("sends a study by STOW-RS, all of it or nothing, in several transfer syntaxes")
def stow(stage):
    images = studies.study(instances=4, syntaxes=studies.SYNTAXES)
    resources = sent(stage, images)
    done = stage.orthanc.post("dicom-web/servers/osteon/stow", {"Resources": resources, "Synchronous": True})
    equal("what arrived", at_home(stage, images), {image.SOPInstanceUID for image in images})
    return f"{done.get('InstancesCount', len(images))} instances"


@check("sends a study by C-STORE")
def c_store(stage):
    images = studies.study(instances=2)
    resources = sent(stage, images)
    stage.orthanc.post("modalities/osteon/store", {"Resources": resources, "Synchronous": True})
    equal("what arrived", at_home(stage, images), {image.SOPInstanceUID for image in images})
    for image in images:
        place = image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID
        equal("the pixels", read(stage.osteon.stored(*place)).PixelData == image.PixelData, True)


@check("receives the report and the heat maps into the same study, the bytes that osteon's own WADO-RS gives")
def receives(stage):
    scored = stage.scored
    for image in scored.images:
        stage.orthanc.add(encoded(image))
    for file in [scored.report, *scored.captures]:
        made = read(file)
        arrived = until(partial(stage.orthanc.file, made.SOPInstanceUID), 60)
        assert arrived, f"{made.SOPClassUID.name} did not arrive"
        equal("the bytes", stage.orthanc.file(made.SOPInstanceUID) == file, True)
    found = stage.orthanc.get(f"dicom-web/studies/{scored.study}/series").json()
    modalities = {one["00080060"]["Value"][0] for one in found}
    assert {"DX", "SR"} <= modalities, f"the study in the archive has series of {modalities}"
    delivered = stage.osteon.http.get(f"{stage.osteon.url}/v1/studies/{scored.study}").json()["deliveries"]
    states = {one["destination"]: one["state"] for one in delivered}
    equal("what osteon says of the delivery", states["orthanc"], "delivered")


@check("gives a study that is ordered from it, which is then scored")
def gives(stage):
    images = studies.study(instances=2)
    sent(stage, images)
    study = images[0].StudyInstanceUID
    place = f"{stage.osteon.url}/v1/studies/{study}/score"
    equal("the status", stage.osteon.http.post(place, json={"peer": "orthanc"}).status_code, 202)
    scored = stage.osteon.outcome(study)
    equal("the outcome", (scored["state"], scored["instances"]), ("scored", len(images)))
    equal("what arrived", at_home(stage, images), {image.SOPInstanceUID for image in images})


@check("is not asked for a study by anyone who names another address")
def unknown_peer(stage):
    place = f"{stage.osteon.url}/v1/studies/{studies.generate_uid(None)}/score"
    answer = stage.osteon.http.post(place, json={"peer": stage.orthanc.web})
    equal("the answer", (answer.status_code, answer.json()["reason"]["code"]), (400, "unknown-peer"))


@check(
    "forwards all that it gets, the report and the heat maps that came from osteon among it, and that goes round once only"
)
def forwards(stage):
    images = studies.study(instances=2)
    study = images[0].StudyInstanceUID
    place = f"{stage.osteon.url}/v1/studies/{study}"

    def told():
        return [event["kind"] for event in stage.osteon.http.get(f"{place}/timeline").json()["events"]]

    def is_back():
        """Everything in the archive, ours too, has been sent to osteon."""
        archived = stage.orthanc.find(study)
        made = {one.SOPInstanceUID for one in stage.osteon.find(f"studies/{study}/instances")}
        states = stage.orthanc.jobs()
        if told().count("delivered") < 2:
            return False
        return archived >= made > {image.SOPInstanceUID for image in images} and set(states) == {"Success"}

    with stage.orthanc.forwards_everything():
        sent(stage, images)
        equal("the outcome", stage.osteon.outcome(study)["state"], "scored")
        held = stage.orthanc.find(study)
        assert until(is_back, 120), f"the archive held {held}, its jobs are {stage.orthanc.jobs()}"
        before = told()
        # longer than a study is quiet: one that were due again would be scored again by now
        time.sleep(5)
    equal("what happened since", told()[len(before) :], [])
    counts = {kind: before.count(kind) for kind in ("received", "scored", "objects-made", "delivered")}
    equal("what happened", counts, {"received": 2, "scored": 1, "objects-made": 1, "delivered": 2})
    study_now = stage.osteon.http.get(place).json()
    equal("the study", (study_now["state"], study_now["instances"]), ("scored", 2))
    return f"{len(stage.orthanc.find(study)) - len(images)} objects came back"
