"""pydicom reads what WADO-RS gives of files that osteon did not make: pydicom's own test files, odd ones among them."""

import io
import pathlib

import numpy
import pydicom
import pydicom.data
from checks import check, equal
from osteon import read
from PIL import Image
from pydicom.pixels import pixel_array

FILES = pathlib.Path(pydicom.data.__file__).parent / "test_files"
# each in another transfer syntax, or with another form of pixels
IMAGES = [
    "CT_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_small_odd.dcm",
    "examples_palette.dcm",
    "image_dfl.dcm",
    "rtdose.dcm",
]
# in colour, with how far a sample may be from pydicom's: JPEG has several inverse DCTs, and ways of spreading a colour that
# pixels share
COLOUR = {
    "SC_rgb_rle_2frame.dcm": 0,
    "SC_rgb_rle_16bit.dcm": 0,
    "SC_rgb_small_odd_jpeg.dcm": 3,
    "SC_rgb_jpeg_dcmtk.dcm": 3,
    "SC_rgb_dcmtk_+eb+cr.dcm": 3,
    "SC_rgb_dcmtk_+eb+cy+np.dcm": 3,
    "SC_jpeg_no_color_transform.dcm": 3,
    "SC_rgb_gdcm_KY.dcm": 1,
    "GDCMJ2K_TextGBR.dcm": 0,
    "examples_jpeg2k.dcm": 0,
    "examples_ybr_color.dcm": 6,
    "SC_ybr_full_422_uncompressed.dcm": 1,
}
# what osteon keeps and does not decode, with the reason
UNDECODED = {"SC_rgb_jpeg_gdcm.dcm": "colour-image", "SC_rgb_rle_32bit.dcm": "bit-depth"}
COMPRESSED_COLOUR = ["SC_rgb_rle_2frame.dcm", "SC_rgb_jpeg_dcmtk.dcm"]
OTHERS = ["test-SR.dcm", "reportsi.dcm", "rtplan.dcm", "waveform_ecg.dcm"]


def places(name):
    file = (FILES / name).read_bytes()
    dataset = read(file)
    return file, dataset, (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)


@check(
    f"{len(IMAGES + COMPRESSED_COLOUR + OTHERS)} of its test files are stored, images and others, and come back byte for byte"
)
def as_stored(stage):
    for name in IMAGES + COMPRESSED_COLOUR + OTHERS:
        file, _, place = places(name)
        answer = stage.osteon.stow([file])
        assert answer.status_code in (200, 202), f"{name}: {answer.status_code}: {answer.text[:200]}"
        equal(f"the file {name}", stage.osteon.stored(*place) == file, True)


@check("the images among them have the same pixels in Explicit VR Little Endian")
def explicit(stage):
    for name in IMAGES:
        _, dataset, (study, series, instance) = places(name)
        path = f"studies/{study}/series/{series}/instances/{instance}"
        found = read(stage.osteon.get(path, "application/dicom").content)
        equal(f"the transfer syntax of {name}", found.file_meta.TransferSyntaxUID, "1.2.840.10008.1.2.1")
        equal(f"the pixels of {name}", numpy.array_equal(found.pixel_array, dataset.pixel_array), True)


@check("all have metadata in JSON that pydicom reads, with the same attributes")
def metadata(stage):
    for name in IMAGES + COMPRESSED_COLOUR + OTHERS:
        _, dataset, (study, series, instance) = places(name)
        path = f"studies/{study}/series/{series}/instances/{instance}/metadata"
        (found,) = stage.osteon.get(path, "application/dicom+json").json()
        parsed = pydicom.Dataset.from_json(found, bulk_data_uri_handler=lambda *_: None)
        # group lengths and padding belong to a file, not to what it says
        wanted = {element.tag for element in dataset if element.tag.element != 0 and element.tag != 0xFFFCFFFC}
        equal(f"attributes that {name} has lost", wanted - {element.tag for element in parsed}, set())


@check("the structured report and the heat map are complete files, of the patient and study of their images")
def results(stage):
    scored = stage.scored
    source = scored.images[0]
    assert scored.captures, "there is no heat map in the study"
    for file in [scored.report, *scored.captures]:
        dataset = read(file)
        for name in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate", "AccessionNumber"):
            equal(f"{name} of the {dataset.SOPClassUID.name}", dataset[name].value, source[name].value)
        assert dataset.SeriesInstanceUID not in {image.SeriesInstanceUID for image in scored.images}
    pixels = read(scored.captures[0]).pixel_array
    assert pixels.ndim == 3 and pixels.std() > 1, "the heat map is no picture in colour"


@check(
    f"{len(COLOUR)} images in colour have the same pixels in Explicit VR Little Endian and in the picture that is rendered"
)
def colour(stage):
    for name, near in COLOUR.items():
        # some have the UIDs of others: each is stored and looked at before the next
        file, dataset, (study, series, instance) = places(name)
        stage.osteon.stow([file])
        path = f"studies/{study}/series/{series}/instances/{instance}"
        found = read(stage.osteon.get(path, "application/dicom").content)
        equal(f"the transfer syntax of {name}", found.file_meta.TransferSyntaxUID, "1.2.840.10008.1.2.1")
        wanted = pixel_array(dataset, index=0).astype(int)
        apart = abs(pixel_array(found, index=0).astype(int) - wanted).max()
        assert apart <= near, f"the pixels of {name} are up to {apart} apart"
        picture = stage.osteon.get(f"{path}/frames/1/rendered", "image/png").content
        shown = numpy.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
        apart = abs(shown - (wanted * 255 + 32767) // 65535 if dataset.BitsAllocated == 16 else shown - wanted).max()
        assert apart <= near, f"the picture of {name} is up to {apart} apart"


@check("colour that is not decoded is given as it is stored, and refused with the reason in another transfer syntax")
def undecoded(stage):
    for name, code in UNDECODED.items():
        file, _, (study, series, instance) = places(name)
        stage.osteon.stow([file])
        place = f"{stage.osteon.web}/studies/{study}/series/{series}/instances/{instance}"
        answer = stage.osteon.http.get(place, headers={"Accept": "application/dicom"})
        equal(f"the answer for {name}", (answer.status_code, answer.json()["reason"]["code"]), (406, code))
        equal(f"the file {name}", stage.osteon.stored(study, series, instance) == file, True)
