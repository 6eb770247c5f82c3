//! The parameters of pictures (PS3.18 section 8.3.5).

use crate::fault::{Fault, FaultKind};
use crate::image::grey::{Voi, VoiFunction};
use crate::image::rendering::{MOST_PIXELS, PictureFormat, Viewport};

/// How good a JPEG is where nobody says.
const QUALITY: u8 = 90;
/// What the standard knows and is not done here.
const IGNORED: [&str; 4] = [
    "annotation",
    "iccprofile",
    "presentationseriesuid",
    "presentationuid",
];

/// What a request says of its pictures.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wishes {
    pub(super) window: Option<Voi>,
    pub(super) viewport: Option<Viewport>,
    quality: u8,
    /// Which parameters are not heeded.
    pub(super) ignored: Vec<&'static str>,
}

impl Wishes {
    /// Reads the parameters of a request.
    ///
    /// # Errors
    /// `rendering`, which says what the parameter must be.
    pub(super) fn read(parameters: &[(String, String)]) -> Result<Self, Fault> {
        let mut wishes = Self {
            window: None,
            viewport: None,
            quality: QUALITY,
            ignored: Vec::new(),
        };
        for (name, value) in parameters {
            match name.as_str() {
                "window" => wishes.window = Some(window(value).ok_or_else(|| wrong(WINDOW))?),
                "viewport" => wishes.viewport = Some(viewport(value).ok_or_else(|| wrong(VIEWPORT))?),
                "quality" => {
                    let quality = value.parse().ok().filter(|quality| (1..=100).contains(quality));
                    wishes.quality = quality.ok_or_else(|| wrong(QUALITY_FORM))?;
                }
                "accept" | "charset" => {}
                other => {
                    let ignored = IGNORED.into_iter().find(|known| *known == other);
                    wishes.ignored.push(ignored.ok_or_else(|| wrong(PARAMETERS))?);
                }
            }
        }
        Ok(wishes)
    }

    /// The format of a media type, where it is one of those that pictures are written in.
    pub(super) fn format(&self, essence: &str) -> Option<PictureFormat> {
        match essence {
            "image/jpeg" => Some(PictureFormat::Jpeg {
                quality: self.quality,
            }),
            "image/png" => Some(PictureFormat::Png),
            _ => None,
        }
    }
}

const WINDOW: &str = "window must be CENTER,WIDTH,FUNCTION, where the function is linear (width at least 1), linear-exact or sigmoid \
                      (width above 0)";
const VIEWPORT: &str = "viewport must be WIDTH,HEIGHT or WIDTH,HEIGHT,LEFT,TOP,REGION-WIDTH,REGION-HEIGHT in pixels; width and height are \
                        1 to 8192";
const QUALITY_FORM: &str = "quality must be a whole number from 1 to 100";
const PARAMETERS: &str =
    "the parameters of pictures are window, viewport, quality, annotation, iccprofile and accept";

fn wrong(right: &str) -> Fault {
    Fault::new(FaultKind::Invalid, "rendering", right)
}

fn window(text: &str) -> Option<Voi> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let (center, width, function) = match parts.as_slice() {
        [center, width] => (*center, *width, "linear"),
        [center, width, function] => (*center, *width, *function),
        _ => return None,
    };
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    let (center, width) = (number(center)?, number(width)?);
    let function = match function.to_ascii_lowercase().replace('_', "-").as_str() {
        "linear" if width >= 1.0 => VoiFunction::Linear,
        "linear-exact" if width > 0.0 => VoiFunction::LinearExact,
        "sigmoid" if width > 0.0 => VoiFunction::Sigmoid,
        _ => return None,
    };
    Some(Voi::Window {
        center,
        width,
        function,
    })
}

fn viewport(text: &str) -> Option<Viewport> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    if !(2..=6).contains(&parts.len()) {
        return None;
    }
    let side = |text: &str| {
        text.parse::<u32>()
            .ok()
            .filter(|side| (1..=MOST_PIXELS).contains(side))
    };
    // whole pixels; the standard allows fractions
    let number = |at: usize| match parts.get(at) {
        None | Some(&"") => Some(None),
        Some(text) => {
            let number: f64 = text.parse().ok()?;
            let fits = number.is_finite() && number.abs() < f64::from(i32::MAX);
            fits.then(|| Some(number.round() as i32))
        }
    };
    let origin = |at| number(at).and_then(|number: Option<i32>| u32::try_from(number.unwrap_or(0)).ok());
    Some(Viewport {
        width: side(parts[0])?,
        height: side(parts[1])?,
        origin: [origin(2)?, origin(3)?],
        size: [number(4)?, number(5)?],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<Wishes, Fault> {
        Wishes::read(&[(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn windows_are_read() {
        let read = |text| read("window", text).map(|wishes| wishes.window);
        let window = |center, width, function| {
            Ok(Some(Voi::Window {
                center,
                width,
                function,
            }))
        };
        assert_eq!(read("40,400,linear"), window(40.0, 400.0, VoiFunction::Linear));
        assert_eq!(
            read("-1.5,0.5,linear-exact"),
            window(-1.5, 0.5, VoiFunction::LinearExact)
        );
        assert_eq!(read("0,1,SIGMOID"), window(0.0, 1.0, VoiFunction::Sigmoid));
        for wrong in [
            "",
            "40",
            "40,0.5,linear",
            "40,0,sigmoid",
            "40,x,linear",
            "inf,1,linear",
            "1,2,curve",
            "1,2,linear,3",
        ] {
            assert_eq!(read(wrong).unwrap_err().code, "rendering", "{wrong}");
        }
    }

    #[test]
    fn viewports_are_read() {
        let read = |text| read("viewport", text).map(|wishes| wishes.viewport);
        let viewport = |origin, size| {
            Ok(Some(Viewport {
                width: 512,
                height: 256,
                origin,
                size,
            }))
        };
        assert_eq!(read("512,256"), viewport([0, 0], [None, None]));
        assert_eq!(read("512,256,10,20"), viewport([10, 20], [None, None]));
        assert_eq!(
            read("512,256,,,-30.4,40"),
            viewport([0, 0], [Some(-30), Some(40)])
        );
        for wrong in [
            "",
            "512",
            "0,1",
            "8193,1",
            "1,1,-1",
            "1,1,0,0,x",
            "1,1,0,0,0,0,0",
            "1,1,0,0,1e99",
        ] {
            assert_eq!(read(wrong).unwrap_err().code, "rendering", "{wrong}");
        }
    }

    #[test]
    fn other_parameters_are_heeded_ignored_or_refused() {
        let jpeg = |quality| Some(PictureFormat::Jpeg { quality });
        assert_eq!(read("quality", "7").unwrap().format("image/jpeg"), jpeg(7));
        assert_eq!(
            read("accept", "image/png").unwrap().format("image/jpeg"),
            jpeg(QUALITY)
        );
        assert_eq!(read("annotation", "patient").unwrap().ignored, ["annotation"]);
        for (name, value) in [("quality", "0"), ("quality", "101"), ("zoom", "2")] {
            assert_eq!(read(name, value).unwrap_err().code, "rendering", "{name}");
        }
    }
}
