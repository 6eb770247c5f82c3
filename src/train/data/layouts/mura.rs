//! MURA: upper limbs, normal or abnormal by study. Everything is in the paths:
//! `train/XR_ELBOW/patient00011/study1_negative/image1.png`.
//!
//! Rajpurkar et al. 2017, MURA: Large Dataset for Abnormality Detection in Musculoskeletal Radiographs, arXiv 1712.06957.

use std::path::Path;

use crate::train::data::labels::{Known, LabelError, Part, Stated, Statements, Unused};

/// The set; it needs no table.
pub(super) struct Mura {
    columns: [String; 1],
}

impl Mura {
    pub(super) fn in_folder(folder: &Path) -> Option<Self> {
        let has_regions = |part: &str| {
            let entries = std::fs::read_dir(folder.join(part))
                .into_iter()
                .flatten()
                .flatten();
            entries
                .map(|entry| entry.file_name())
                .any(|name| name.to_string_lossy().starts_with("XR_"))
        };
        ["train", "valid"].into_iter().any(has_regions).then(|| Self {
            columns: ["abnormal".to_owned()],
        })
    }
}

impl Statements for Mura {
    fn title(&self) -> String {
        "MURA".to_owned()
    }

    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn of(&mut self, image: &Known<'_>) -> Result<Option<Stated>, LabelError> {
        let Some(file) = image.file else { return Ok(None) };
        let parts: Vec<&str> = file.iter().filter_map(|part| part.to_str()).collect();
        let Some([part, region, patient, study, _]) = parts.last_chunk() else {
            return Ok(None);
        };
        let Some(region) = region.strip_prefix("XR_") else {
            return Ok(None);
        };
        let abnormal = match study.rsplit_once('_') {
            Some((_, "positive")) => "1",
            Some((_, "negative")) => "0",
            _ => "",
        };
        Ok(Some(Stated {
            patient: Some((*patient).to_owned()),
            split: Part::parse(part),
            body_part: Some(region.to_owned()),
            labels: vec![abnormal.to_owned()],
            ..Stated::default()
        }))
    }

    fn unused(&self) -> Unused {
        Unused::default()
    }
}
