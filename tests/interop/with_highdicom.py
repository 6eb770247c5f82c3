"""highdicom reads the structured report as the template Measurement Report that it claims to be."""

import io

import highdicom.sr
from checks import check, equal
from highdicom.sr import CodedConcept

OSTEOPOROSIS = CodedConcept("64859006", "SCT", "Osteoporosis")


def report(stage):
    return highdicom.sr.srread(io.BytesIO(stage.scored.report))


@check("reads the report as a Comprehensive 3D SR of the template 1500")
def template(stage):
    document = report(stage)
    equal("the template", document.ContentTemplateSequence[0].TemplateIdentifier, "1500")
    equal("the title", document.ConceptNameCodeSequence[0].CodeValue, "126000")
    equal(
        "completion and verification", (document.CompletionFlag, document.VerificationFlag), ("COMPLETE", "UNVERIFIED")
    )


@check("finds each finding with its probability, and the image that it was seen on")
def findings(stage):
    document = report(stage)
    wanted = {
        (instance["sop_instance_uid"], finding["code"]["value"]): finding["probability"]
        for instance in stage.scored.answer["result"]["instances"]
        for finding in instance["findings"]
    }
    found = {}
    for group in document.content.get_image_measurement_groups():
        sources = group.source_images
        if not sources or not group.finding_type or len(sources) != 1:
            continue  # of the study, or of an image without a score
        (measurement,) = group.get_measurements()
        found[sources[0].referenced_sop_instance_uid, group.finding_type.value] = float(measurement.value)
    equal("findings by image", set(found), set(wanted))
    for key, probability in wanted.items():
        assert abs(found[key] - probability) < 1e-6, f"{found[key]} in the report, {probability} over REST"


@check("finds the images in the evidence, and the model that looked at them")
def evidence(stage):
    document = report(stage)
    referenced = {instance for _, _, instance, _ in document.get_evidence()}
    equal("the evidence", referenced, {image.SOPInstanceUID for image in stage.scored.images})
    group = document.content.get_image_measurement_groups()[0]
    model = stage.scored.answer["result"]["instances"][0]["model"]
    algorithm = [item.value for item in group[0].ContentSequence if item.name.value == "111001"]
    equal("the algorithm", algorithm, [model["name"]])
