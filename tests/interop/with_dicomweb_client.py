"""dicomweb-client, the library behind many research tools: stores, searches and retrieves with its own parsers."""

import io
import logging

import numpy
import studies
from checks import check, equal
from dicomweb_client.api import DICOMwebClient
from osteon import encoded
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless
from requests import HTTPError

SERIES, INSTANCES = 2, 4
ANY_SYNTAX = (("application/dicom", "*"),)
EXPLICIT = (("application/dicom", ExplicitVRLittleEndian),)


# its own word on every Warning and on every refusal, which the checks look at themselves
logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)


def client(stage):
    made = DICOMwebClient(stage.osteon.web)
    made.set_http_retry_params(retry=False)
    return made


def kept(stage):
    """A study in every transfer syntax that pydicom writes, stored by this client."""
    if not hasattr(stage, "in_many_syntaxes"):
        images = studies.study(INSTANCES, SERIES, studies.SYNTAXES)
        answer = client(stage).store_instances(images)
        assert "FailedSOPSequence" not in answer, "some were refused"
        equal("what is stored", len(answer.ReferencedSOPSequence), len(images))
        stage.in_many_syntaxes = images
    return stage.in_many_syntaxes


def same(found, image):
    """The same attributes and the same bytes of pixels."""
    equal("the pixels", found.PixelData == image.PixelData, True)
    equal("the attributes", found, image)


@check(f"stores {SERIES * INSTANCES} instances in {len(studies.SYNTAXES)} transfer syntaxes")
def store(stage):
    kept(stage)


@check("searches for studies: by patient, wildcard, date range, with limit, offset, fields and fuzzy matching")
def search_studies(stage):
    image = kept(stage)[0]
    web = client(stage)

    def found(**query):
        return [one["0020000D"]["Value"][0] for one in web.search_for_studies(**query)]

    by_patient = {"PatientID": image.PatientID}
    equal("the study of the patient", found(search_filters=by_patient), [image.StudyInstanceUID])
    name = {"PatientName": "Interop*", "StudyDate": f"{image.StudyDate}-", "AccessionNumber": image.AccessionNumber}
    equal("the study by name and date", found(search_filters=name), [image.StudyInstanceUID])
    equal("what a name without a match finds", found(search_filters={"PatientName": "Nobody"}), [])
    # osteon matches literally, and says so in a Warning
    fuzzy = found(search_filters={"PatientName": "interop^*", **by_patient}, fuzzymatching=True)
    equal("the study with fuzzy matching", fuzzy, [image.StudyInstanceUID])
    everything = found(limit=1000)
    pages = [found(limit=1, offset=offset)[0] for offset in range(min(3, len(everything)))]
    equal("page by page", pages, everything[:3])
    (shown,) = web.search_for_studies(fields=["StudyDescription"], search_filters=by_patient)
    dataset = Dataset.from_json(shown)
    equal(
        "its series and instances",
        (dataset.NumberOfStudyRelatedSeries, dataset.NumberOfStudyRelatedInstances),
        (SERIES, 8),
    )
    equal("a field that was asked for", dataset.StudyDescription, image.StudyDescription)


@check("searches for series and instances, of a study and of all")
def search_below(stage):
    images = kept(stage)
    web, study, series = client(stage), images[0].StudyInstanceUID, images[0].SeriesInstanceUID
    of_study = web.search_for_series(study, search_filters={"Modality": "DX"})
    wanted = {image.SeriesInstanceUID for image in images}
    equal("its series", {one["0020000E"]["Value"][0] for one in of_study}, wanted)
    equal("series of no modality", web.search_for_series(study, search_filters={"Modality": "US"}), [])
    of_series = web.search_for_instances(study, series)
    wanted = {image.SOPInstanceUID for image in images if image.SeriesInstanceUID == series}
    equal("its instances", {one["00080018"]["Value"][0] for one in of_series}, wanted)
    by_uid = web.search_for_instances(search_filters={"SOPInstanceUID": images[-1].SOPInstanceUID})
    equal("one of all instances", [one["00080018"]["Value"][0] for one in by_uid], [images[-1].SOPInstanceUID])


@check("refuses a search that cannot be understood with 400")
def wrong_search(stage):
    for query in ({"limit": "many"}, {"StudyDate": "yesterday"}, {"NoSuchAttribute": "1"}):
        answer = stage.osteon.http.get(f"{stage.osteon.web}/studies", params=query)
        equal(f"the status for {query}", answer.status_code, 400)


@check("retrieves a study, a series and an instance as they were stored, every byte of the pixels")
def retrieve_as_stored(stage):
    images = kept(stage)
    by_uid = {image.SOPInstanceUID: image for image in images}
    web, study = client(stage), images[0].StudyInstanceUID
    found = [one for one in web.retrieve_study(study, media_types=ANY_SYNTAX) if one.SOPInstanceUID in by_uid]
    equal("the instances of the study", {one.SOPInstanceUID for one in found}, set(by_uid))
    for one in found:
        same(one, by_uid[one.SOPInstanceUID])
    series = list(web.iter_series(study, images[-1].SeriesInstanceUID, media_types=ANY_SYNTAX))
    equal("the instances of the series", len(series), INSTANCES)
    for image in images:
        place = image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID
        one = web.retrieve_instance(*place, media_types=ANY_SYNTAX)
        equal("the transfer syntax", one.file_meta.TransferSyntaxUID, image.file_meta.TransferSyntaxUID)
        equal("the file", stage.osteon.stored(*place) == encoded(image), True)


@check("retrieves every transfer syntax as Explicit VR Little Endian, with the same pixels")
def retrieve_explicit(stage):
    for image in kept(stage):
        place = image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID
        one = client(stage).retrieve_instance(*place, media_types=EXPLICIT)
        equal("the transfer syntax", one.file_meta.TransferSyntaxUID, ExplicitVRLittleEndian)
        equal(
            f"pixels of {image.file_meta.TransferSyntaxUID.name}",
            numpy.array_equal(one.pixel_array, image.pixel_array),
            True,
        )


@check("retrieves metadata with a place for the pixels, and the pixels from that place")
def metadata(stage):
    images = kept(stage)
    web, first = client(stage), images[0]
    of_study = {one["00080018"]["Value"][0] for one in web.retrieve_study_metadata(first.StudyInstanceUID)}
    assert {image.SOPInstanceUID for image in images} <= of_study, "metadata of some instances are missing"
    one = web.retrieve_instance_metadata(first.StudyInstanceUID, first.SeriesInstanceUID, first.SOPInstanceUID)
    place = one.pop("7FE00010")["BulkDataURI"]
    dataset = Dataset.from_json(one)
    wanted = {element.tag for element in first} - {0x7FE00010}
    equal("attributes that are missing", wanted - {element.tag for element in dataset}, set())
    (pixels,) = web.retrieve_bulkdata(place)
    equal("the bulk data", pixels == first.PixelData, True)


@check("retrieves frames, decoded and as they are compressed")
def frames(stage):
    for image in kept(stage):
        place = image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID
        (raw,) = client(stage).retrieve_instance_frames(*place, [1], media_types=("application/octet-stream",))
        decoded = image.pixel_array.astype("<u2").tobytes()
        equal(f"the frame of {image.file_meta.TransferSyntaxUID.name}", raw == decoded, True)
    compressed = next(image for image in kept(stage) if image.file_meta.TransferSyntaxUID == JPEG2000Lossless)
    place = compressed.StudyInstanceUID, compressed.SeriesInstanceUID, compressed.SOPInstanceUID
    (frame,) = client(stage).retrieve_instance_frames(*place, [1], media_types=(("image/jp2", JPEG2000Lossless),))
    equal("the compressed frame", frame == get_frame(compressed.PixelData, 0, number_of_frames=1), True)


@check("retrieves a rendered image that looks like the pixels")
def rendered(stage):
    image = kept(stage)[0]
    place = image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID
    for kind in ("image/png", "image/jpeg"):
        picture = Image.open(io.BytesIO(client(stage).retrieve_instance_rendered(*place, media_types=(kind,))))
        equal("its size", picture.size, (image.Columns, image.Rows))
        stored = image.pixel_array.ravel() * (-1.0 if image.PhotometricInterpretation == "MONOCHROME1" else 1.0)
        likeness = numpy.corrcoef(numpy.asarray(picture.convert("L")).ravel(), stored)[0, 1]
        assert likeness > 0.95, f"{kind} correlates with the pixels by {likeness:.3f} only"


@check("is told that what is stored is not deleted here")
def delete(stage):
    image = kept(stage)[0]
    try:
        client(stage).delete_study(image.StudyInstanceUID)
    except HTTPError as error:
        equal("the status", error.response.status_code, 405)
        assert "GET" in error.response.headers.get("Allow", ""), "the answer does not say what is allowed"
    else:
        raise AssertionError("it was told that the study is deleted")
    equal("what is left", len(stage.osteon.find("studies", StudyInstanceUID=image.StudyInstanceUID)), 1)
