"""Studies for the checks, made of the phantoms beside the bundled model: the same pixels under new UIDs, in many transfer syntaxes."""

import pathlib

import pydicom
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

MODEL = pathlib.Path(__file__).resolve().parents[2] / "models" / "spine-osteoporosis-phantom" / "1"
PHANTOMS = ["sample.dcm", "second.dcm"]
# What pydicom writes; each keeps every pixel as it is.
SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
]


def radiograph(study=None, series=None, number=1, syntax=ExplicitVRLittleEndian):
    """A lateral radiograph of a lumbar spine, which the bundled model scores."""
    dataset = pydicom.dcmread(MODEL / PHANTOMS[number % 2])
    dataset.StudyInstanceUID = study or generate_uid(None)
    dataset.SeriesInstanceUID = series or generate_uid(None)
    dataset.SOPInstanceUID = generate_uid(None)
    dataset.InstanceNumber = number
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    written_in(dataset, syntax)
    return dataset


def study(instances=1, series=1, syntaxes=(ExplicitVRLittleEndian,)):
    """All radiographs of a new study of one new patient; the transfer syntaxes take turns."""
    name = generate_uid(None)
    patient = pydicom.dcmread(MODEL / PHANTOMS[0])
    patient_id = f"INTEROP-{name[-12:]}"
    made = []
    for place in range(1, series + 1):
        series_uid = generate_uid(None)
        for number in range(1, instances + 1):
            one = radiograph(name, series_uid, number, syntaxes[len(made) % len(syntaxes)])
            one.PatientID, one.PatientName = patient_id, f"Interop^Phantom {name[-8:]}"
            one.PatientBirthDate, one.PatientSex = "19690114", patient.PatientSex
            one.PatientAge = patient.PatientAge
            # the phantoms beside a package name nobody, and say of no study when and what it was
            one.StudyDate, one.StudyTime, one.StudyID = "20260301", "101500", "1"
            one.StudyDescription, one.SeriesDescription = "Lumbar spine", "L-spine lateral"
            one.AccessionNumber = f"AN{name[-10:]}"
            one.SeriesNumber = place
            made.append(one)
    return made


def written_in(dataset, syntax):
    if syntax.is_compressed and syntax != DeflatedExplicitVRLittleEndian:
        dataset.compress(syntax, generate_instance_uid=False)
        return
    # what was not looked at would be written in the byte order in which it was read
    list(dataset.iterall())
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = dataset.pixel_array.byteswap().tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.set_original_encoding(syntax.is_implicit_VR, syntax.is_little_endian)
