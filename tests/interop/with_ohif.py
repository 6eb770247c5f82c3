"""OHIF, a viewer in the browser that reads DICOMweb alone: what a reader of the study sees, in the page's elements and in its pixels."""

import contextlib
import io
import re

import numpy
from browser import page, picture
from checks import check
from osteon import read
from PIL import Image

# the viewer's tour for beginners stands before everything else
TOUR_WAS_SHOWN = "localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour']))"
THUMBNAILS = '[data-cy="study-browser-thumbnail"], [data-cy="study-browser-thumbnail-no-image"]'


@contextlib.contextmanager
def viewer(stage, path):
    """The viewer at a path; what it said is noted when something does not hold."""
    with page(stage.folder / "browser") as opened:
        try:
            opened.add_init_script(TOUR_WAS_SHOWN)
            opened.goto(f"{stage.page.url}{path}")
            yield opened
        except Exception:
            opened.screenshot(path=stage.output / "ohif-failed.png")
            stage.note("\n".join(opened.said))
            raise


@contextlib.contextmanager
def study(stage):
    with viewer(stage, f"/viewer?StudyInstanceUIDs={stage.scored.study}") as opened:
        opened.locator(THUMBNAILS).first.wait_for()
        yield opened


def series(opened, modality):
    """The thumbnail of the series of a modality."""
    return opened.locator(THUMBNAILS).filter(has_text=modality).first


def likeness(shown, wanted):
    """How well the middle of what is shown correlates with the image that fits into it, from -1 to 1."""
    width, height = shown.size
    scale = min(width / wanted.width, height / wanted.height)
    fitted = wanted.resize((round(wanted.width * scale), round(wanted.height * scale)))
    left, top = (width - fitted.width) // 2, (height - fitted.height) // 2
    part = shown.crop((left, top, left + fitted.width, top + fitted.height))
    # the words in the corners are the viewer's
    edge = fitted.width // 5, fitted.height // 5, fitted.width * 4 // 5, fitted.height * 4 // 5
    a, b = (numpy.asarray(one.crop(edge).convert("RGB"), dtype=float).ravel() for one in (part, fitted))
    return float(numpy.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0


def rendered(stage, dataset):
    """The image as osteon's own WADO-RS renders it."""
    place = f"studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}/instances/{dataset.SOPInstanceUID}"
    return Image.open(io.BytesIO(stage.osteon.get(f"{place}/rendered", "image/png").content)).convert("RGB")


def shows(opened, wanted, least=0.9):
    """Waits until the viewport shows one of these images; how like it is."""
    viewport = opened.locator('[data-cy="viewport-pane"]').first
    found = 0.0
    for _ in range(120):
        shown = picture(viewport)
        found = max(likeness(shown, one) for one in wanted)
        if found > least:
            return found
        opened.wait_for_timeout(500)
    raise AssertionError(f"the viewport correlates with the image by {found:.3f} only")


@check("lists the study with its patient, modalities, and the number of its instances")
def lists(stage):
    scored = stage.scored
    image = scored.images[0]
    with viewer(stage, "/") as opened:
        row = opened.get_by_role("row").filter(has_text=image.PatientName.given_name).first
        row.wait_for()
        words = row.inner_text().split("\n")
        opened.screenshot(path=stage.output / "ohif-studies.png")
    count = len(stage.osteon.find(f"studies/{scored.study}/instances"))
    for wanted in (
        f"{image.PatientName.family_name}, {image.PatientName.given_name}",
        image.StudyDescription,
        str(count),
    ):
        assert wanted in [word.strip() for word in words], f"the row of the study says {words}, without {wanted}"
    assert any("DX" in word and "SR" in word for word in words), f"the row of the study says {words}, without DX and SR"


@check("shows the radiograph as osteon renders it, and a thumbnail of each series")
def radiograph(stage):
    with study(stage) as opened:
        for modality in ("DX", "SR"):
            series(opened, modality).wait_for()
        found = shows(opened, [rendered(stage, image) for image in stage.scored.images])
        opened.screenshot(path=stage.output / "ohif-radiograph.png")
    return f"correlation {found:.3f}"


@check("shows the heat map")
def heat_map(stage):
    assert stage.scored.captures, "there is no heat map in the study"
    captures = [read(file) for file in stage.scored.captures]
    with study(stage) as opened:
        series(opened, captures[0].Modality).dblclick()
        # a series of several images is offered as a film, over the words in the picture
        close = opened.locator('[data-cy="cine-player-close"]').first
        if len(captures) > 1:
            close.click()
        found = shows(opened, [rendered(stage, capture) for capture in captures])
        opened.screenshot(path=stage.output / "ohif-heatmap.png")
    return f"correlation {found:.3f}"


@check("shows the structured report: each finding with its probability")
def report(stage):
    with study(stage) as opened:
        series(opened, "SR").dblclick()
        viewport = opened.locator('[data-cy="viewport-pane"]').first
        viewport.get_by_text("Imaging Measurement Report").wait_for()
        words = " ".join(viewport.inner_text().split())
        opened.screenshot(path=stage.output / "ohif-report.png")
    for instance in stage.scored.answer["result"]["instances"]:
        for finding in instance["findings"]:
            said = re.findall(rf"Probability of {finding['code']['meaning']}: ([0-9.e-]+)", words)
            close = [one for one in said if abs(float(one) - finding["probability"]) < 1e-6]
            assert close, f"the report says {said} of {finding['code']['meaning']}, without {finding['probability']}"
