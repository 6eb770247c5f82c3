"""Reads structured reports with highdicom, as somebody who analyses them would; told of by tests/it/structured_report.rs.

    read_reports.py FILE...

Prints one JSON object: for each file, by its name, the measurement groups that were found."""

import json
import pathlib
import sys

try:
    import highdicom
    import pydicom
except ImportError as error:
    print(json.dumps({"missing": str(error)}))
    sys.exit()


def meaning(code):
    return None if code is None else code.meaning


def algorithm(group):
    names = ("111001", "111003")
    items = {item.ConceptNameCodeSequence[0].CodeValue: item for item in group[0].ContentSequence if item.ValueType == "TEXT"}
    return " ".join(items[name].TextValue for name in names if name in items) or None


def told(group):
    sites = group.finding_sites
    return {
        "tracking": group.tracking_identifier,
        "finding": meaning(group.finding_type),
        "site": sites[0].value.meaning if sites else None,
        "algorithm": algorithm(group),
        "measurements": [[item.name.meaning, item.value, item.unit.meaning] for item in group.get_measurements()],
        "evaluations": [[item.name.meaning, item.value.meaning] for item in group.get_qualitative_evaluations()],
    }


found = {}
for file in map(pathlib.Path, sys.argv[1:]):
    report = highdicom.sr.srread(file)
    assert isinstance(report, highdicom.sr.Comprehensive3DSR), type(report)
    assert report.CompletionFlag == "COMPLETE" and report.VerificationFlag == "UNVERIFIED"
    content = report.content
    assert isinstance(content, highdicom.sr.MeasurementReport), type(content)
    found[file.stem] = [told(group) for group in content.get_image_measurement_groups()]
print(json.dumps(found))
