//! One line of `images.csv`: what is known of an image, by words and codes that name nobody.

use super::facts::BurnedIn;
use crate::train::data::labels::Part;

/// The columns before the labels.
pub const COLUMNS: [&str; 22] = [
    "image",
    "patient",
    "study",
    "group",
    "split",
    "modality",
    "body_part",
    "view",
    "laterality",
    "age",
    "sex",
    "site",
    "scanner",
    "row_spacing",
    "column_spacing",
    "rows",
    "columns",
    "polarity",
    "burned_in",
    "duplicate_of",
    "digest",
    "labelled",
];
/// Ages above are this age: so old are so few that they are known (45 CFR 164.514).
const OLDEST: u16 = 90;

/// What is known of an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Its name in the index.
    pub image: String,
    /// A pseudonym.
    pub patient: String,
    /// The study's UID under the key, or nothing.
    pub study: String,
    /// Images of one group belong on one side of a split: the same patient, or the same picture.
    pub group: String,
    /// The part of a split that was given.
    pub split: Option<Part>,
    /// Modality (0008,0060).
    pub modality: String,
    /// In the words of the synonym table.
    pub body_part: &'static str,
    /// In the words of the synonym table.
    pub view: &'static str,
    /// L, R, B or nothing.
    pub laterality: &'static str,
    /// Whole years; 90 stands for all above.
    pub age: Option<u16>,
    /// M, F, O or nothing.
    pub sex: String,
    /// A code for the institution.
    pub site: String,
    /// A code for the machine.
    pub scanner: String,
    /// Millimetres from row to row and from column to column.
    pub spacing: Option<[f64; 2]>,
    /// Rows and columns.
    pub size: [usize; 2],
    /// MONOCHROME1 (low values are light), MONOCHROME2, or nothing.
    pub polarity: String,
    /// Whether there is text in the pixels.
    pub burned_in: BurnedIn,
    /// An earlier image with the same bytes, the same UID, or the same picture.
    pub duplicate_of: String,
    /// SHA-256 of the file.
    pub digest: String,
    /// Whether any label source speaks of it.
    pub labelled: bool,
    /// One for each label.
    pub labels: Vec<String>,
}

impl Row {
    /// Its cells, in the order of [`COLUMNS`] and then of the labels.
    #[must_use]
    pub fn cells(&self) -> Vec<String> {
        let millimetres = |place: usize| self.spacing.map(|spacing| format!("{:.5}", spacing[place]));
        let text = str::to_owned;
        let own = [
            self.image.clone(),
            self.patient.clone(),
            self.study.clone(),
            self.group.clone(),
            text(self.split.map_or("", Part::name)),
            self.modality.clone(),
            text(self.body_part),
            text(self.view),
            text(self.laterality),
            self.age.map_or(String::new(), |age| age.min(OLDEST).to_string()),
            self.sex.clone(),
            self.site.clone(),
            self.scanner.clone(),
            millimetres(0).unwrap_or_default(),
            millimetres(1).unwrap_or_default(),
            self.size[0].to_string(),
            self.size[1].to_string(),
            self.polarity.clone(),
            text(self.burned_in.name()),
            self.duplicate_of.clone(),
            self.digest.clone(),
            u8::from(self.labelled).to_string(),
        ];
        own.into_iter().chain(self.labels.iter().cloned()).collect()
    }
}
