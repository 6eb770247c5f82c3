"""Validates Bundles against the FHIR R4B models of fhir.resources; told of by tests/it/results.rs.

    read_fhir.py FILE...

Prints one JSON object: for each file, by its name, how many resources of each type were read."""

import collections
import json
import pathlib
import sys

try:
    from fhir.resources.R4B.bundle import Bundle
except ImportError as error:
    print(json.dumps({"missing": str(error)}))
    sys.exit()

read = {}
for file in map(pathlib.Path, sys.argv[1:]):
    bundle = Bundle.model_validate_json(file.read_text())
    kinds = [entry.resource.get_resource_type() for entry in bundle.entry]
    read[file.stem] = collections.Counter(kinds)
print(json.dumps(read))
