"""fhir.resources holds what osteon writes to the definitions of FHIR R4B."""

from checks import check, equal
from fhir.resources.R4B.bundle import Bundle


def resources(stage):
    answer = stage.osteon.http.get(f"{stage.osteon.url}/v1/studies/{stage.scored.study}/fhir")
    equal("the status", answer.status_code, 200)
    equal("the media type", answer.headers["Content-Type"], "application/fhir+json")
    return Bundle.model_validate_json(answer.content)


@check("the result is a valid Bundle of a preliminary DiagnosticReport and its Observations")
def valid(stage):
    bundle = resources(stage)
    made = [entry.resource for entry in bundle.entry]
    (report,) = [one for one in made if one.get_resource_type() == "DiagnosticReport"]
    observations = [one for one in made if one.get_resource_type() == "Observation"]
    equal("the status of the report", report.status, "preliminary")
    assert observations, "there is no Observation"
    places = {entry.fullUrl for entry in bundle.entry}
    missing = [one.reference for one in report.result or [] if one.reference not in places]
    equal("results that are not in the Bundle", missing, [])


@check("the Observations have the probabilities that REST has")
def probabilities(stage):
    found = {
        round(float(part.valueQuantity.value), 6)
        for one in resources(stage).entry
        if one.resource.get_resource_type() == "Observation"
        for part in one.resource.component or []
        if part.valueQuantity
    }
    wanted = {
        round(finding["probability"], 6)
        for instance in stage.scored.answer["result"]["instances"]
        for finding in instance["findings"]
    }
    assert wanted and wanted <= found, f"{wanted - found} are missing"
