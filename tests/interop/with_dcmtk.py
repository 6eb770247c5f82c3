"""DCMTK sends as a modality does, and reads the report; dicom3tools hold both result objects to the standard."""

import studies
from checks import check, equal
from osteon import AE_TITLE, CALLER, encoded, read
from processes import run
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

# What storescu proposes for each
OPTIONS = {
    "as it is": [],
    "RLE": ["--propose-rle"],
    "JPEG-LS": ["--propose-jls-lossless"],
    "JPEG 2000": ["--propose-j2k-lossless"],
    "JPEG Lossless": ["--propose-lossless"],
    "JPEG Baseline": ["--propose-jpeg8"],
}
SYNTAXES = {"RLE": RLELossless, "JPEG-LS": JPEGLSLossless, "JPEG 2000": JPEG2000Lossless}


def call(program, stage, *arguments, called=AE_TITLE, calling=CALLER):
    address = ["127.0.0.1", stage.osteon.dicom_port]
    return run(program, "-aet", calling, "-aec", called, *address, *arguments)


@check("echoscu is answered")
def echo(stage):
    status, said = call("echoscu", stage)
    equal("echoscu's status", (status, said), (0, ""))


@check("echoscu is refused under a called or calling title that nobody has here")
def wrong_title(stage):
    for named in ({"called": "NOBODY"}, {"calling": "STRANGER"}):
        status, said = call("echoscu", stage, **named)
        assert status != 0 and "AE Title Not Recognized" in said, f"{named}: {said}"


@check(f"storescu stores in {len(OPTIONS)} transfer syntaxes")
def store(stage):
    for name, options in OPTIONS.items():
        image = studies.radiograph()
        if name in SYNTAXES:
            studies.written_in(image, SYNTAXES[name])
        file = stage.write(f"{name}.dcm", encoded(image))
        if name == "JPEG Lossless":
            file = converted("dcmcjpeg", "+e1", file)
        if name == "JPEG Baseline":
            image = narrowed(image)
            file = converted("dcmcjpeg", "+eb", stage.write(f"{name}.dcm", encoded(image)))
        status, said = call("storescu", stage, file, *options)
        equal(f"storescu's status, {name}", (status, said), (0, ""))
        found = read(stage.osteon.stored(image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID))
        sent = read(file.read_bytes())
        equal(f"the transfer syntax, {name}", found.file_meta.TransferSyntaxUID, sent.file_meta.TransferSyntaxUID)
        equal(f"the pixels, {name}", found.PixelData == sent.PixelData, True)


def converted(program, option, file):
    made = file.with_suffix(".compressed.dcm")
    # without +ua the SOP Instance UID is another one after lossy compression
    status, said = run(program, option, "+un", file, made)
    equal(f"{program}'s status", (status, said), (0, ""))
    return made


def narrowed(image):
    """The same with 8 bits a pixel, which is what JPEG Baseline has."""
    pixels = (image.pixel_array >> (image.BitsStored - 8)).astype("u1")
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit = 7
    image.PixelData = pixels.tobytes()
    image["PixelData"].VR = "OB"
    image.WindowCenter, image.WindowWidth = 128, 256
    return image


@check("dsrdump reads the report without an error")
def report(stage):
    file = stage.write("report.dcm", stage.scored.report)
    status, said = run("dsrdump", file)
    lines = said.splitlines()
    equal("dsrdump's status and errors", (status, [line for line in lines if line.startswith(("E:", "F:"))]), (0, []))
    for words in ("Imaging Measurement Report", "Osteoporosis", "COMPLETE", "UNVERIFIED"):
        assert words in said, f"it does not show {words}"
    return "; ".join(sorted({line for line in lines if line.startswith("W:")}))


@check("dciodvfy finds no error in the report and in the heat maps")
def valid(stage):
    scored = stage.scored
    assert scored.captures, "there is no heat map in the study"
    errors, warnings = [], set()
    for number, made in enumerate([scored.report, *scored.captures]):
        _, said = run("dciodvfy", stage.write(f"made-{number}.dcm", made))
        lines = said.splitlines()
        errors += [line for line in lines if line.startswith("Error")]
        warnings |= {line for line in lines if line.startswith("Warning")}
    equal("the errors", errors, [])
    return "; ".join(sorted(warnings))
