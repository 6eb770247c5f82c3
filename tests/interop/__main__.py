"""osteon against the programs that it will meet: `make interop`, or `python3 tests/interop --help`.

One file for each counterpart, `with_*.py`; each function there that is marked as a check tells one thing that must hold between the two.
Everything listens on 127.0.0.1 and ends with this process.
"""

import argparse
import pathlib
import sys

sys.dont_write_bytecode = True
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "scripts"))

import interop_tools
import pinned_wheels

COUNTERPARTS = [
    "stow",
    "dicomweb_client",
    "pydicom",
    "highdicom",
    "fhir",
    "ups",
    "orthanc",
    "dcmtk",
    "pynetdicom",
    "ohif",
]


def main():
    arguments = parse()
    packages, viewer = interop_tools.everything()
    sys.path.insert(1, str(packages))
    import checks
    from stage import Stage

    with Stage(REPOSITORY, arguments.osteon, viewer, arguments.output) as stage:
        outcomes = checks.run(arguments.only or COUNTERPARTS, stage)
        checks.table(outcomes)
        failed = sum(outcome.failed for outcome in outcomes)
        if failed or arguments.keep:
            print(f"logs: {stage.keep()}")
    print(f"{len(outcomes) - failed} passed, {failed} failed")
    sys.exit(1 if failed or not outcomes else 0)


def parse():
    parser = argparse.ArgumentParser(prog="make interop", description=__doc__.split("\n\n")[0])
    parser.add_argument("--osteon", type=pathlib.Path, required=True, help="the program that is tried")
    parser.add_argument(
        "--output", type=pathlib.Path, default=REPOSITORY / "target" / "interop", help="where the screenshots go"
    )
    parser.add_argument("--only", action="append", choices=COUNTERPARTS, metavar="NAME", help="of: %(choices)s")
    parser.add_argument("--keep", action="store_true", help="keep the data and the logs, and say where")
    return parser.parse_args()


pinned_wheels.run(main)
