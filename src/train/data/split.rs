//! Which patients train, validate and test.
//!
//! Invariants: all images of a patient are in one part; parts have about the wanted shares of images within each
//! combination of labels; one seed gives one split, whatever the order of patients was.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::labels::Part;

/// The wanted shares of images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fractions {
    /// For the gradient.
    pub train: f64,
    /// For the choice of the epoch, temperature and thresholds.
    pub validation: f64,
    /// For the report only; may be 0.
    pub test: f64,
}

/// Places of images in each part, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// For the gradient.
    pub train: Vec<usize>,
    /// For the choice of the epoch, temperature and thresholds.
    pub validation: Vec<usize>,
    /// For the report only.
    pub test: Vec<usize>,
}

/// Why images cannot be split, or a split cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SplitError {
    /// Shares that are no shares.
    #[error("fractions {0:?} must not be negative and must add up to 1")]
    Fractions(Fractions),
    /// Lists of different lengths.
    #[error(
        "{patients} patients stand against {labels} label lists; there must be one of each for each image"
    )]
    Length {
        /// Patients.
        patients: usize,
        /// Label lists.
        labels: usize,
    },
    /// A patient in two parts.
    #[error(
        "patient `{patient}` has images in two parts of the split, or shares a picture with a patient in another; all of them must be in one: correct the column split, or leave it out (osteon-train index lists them in leaks.csv)"
    )]
    Leak {
        /// The pseudonym.
        patient: String,
    },
}

/// The given parts, where an image without one is in that of its group. It stays without where its group has none, or has several, which
/// [`Split::check`] refuses.
pub(super) fn with_their_groups<G: Eq + Hash + Copy>(
    given: &[Option<Part>],
    groups: &[G],
) -> Vec<Option<Part>> {
    let mut of_group: HashMap<G, Option<Part>> = HashMap::new();
    let parts = given.iter().zip(groups);
    for (part, group) in parts.clone().filter(|(part, _)| part.is_some()) {
        let known = of_group.entry(*group).or_insert(*part);
        if known != part {
            *known = None;
        }
    }
    let of = |group| of_group.get(group).copied().flatten();
    parts.map(|(part, group)| part.or_else(|| of(group))).collect()
}

/// A class of a label that one patient alone has, so that it can be in one part only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoneClass {
    /// The label.
    pub label: usize,
    /// Whether it is the one with the finding.
    pub present: bool,
}

/// Classes that one patient alone has.
#[must_use]
pub fn lone_classes(patients: &[String], labels: &[Vec<f32>]) -> Vec<LoneClass> {
    let count = labels.first().map_or(0, Vec::len);
    let classes = (0..count).flat_map(|label| [true, false].map(|present| LoneClass { label, present }));
    let is_lone = |class: &LoneClass| {
        let own = patients.iter().zip(labels);
        let own = own.filter(|(_, labels)| {
            labels
                .get(class.label)
                .is_some_and(|value| !value.is_nan() && (*value > 0.5) == class.present)
        });
        let own: BTreeSet<&String> = own.map(|(patient, _)| patient).collect();
        own.len() == 1
    };
    classes.filter(is_lone).collect()
}

impl Split {
    /// Deals out whole patients, rarest combination of labels first.
    pub fn new(
        patients: &[String],
        labels: &[Vec<f32>],
        fractions: Fractions,
        seed: u64,
    ) -> Result<Self, SplitError> {
        let shares = [fractions.train, fractions.validation, fractions.test];
        if shares.iter().any(|share| share.is_nan() || *share < 0.0)
            || (shares.iter().sum::<f64>() - 1.0).abs() > 1e-9
        {
            return Err(SplitError::Fractions(fractions));
        }
        if patients.len() != labels.len() {
            return Err(SplitError::Length {
                patients: patients.len(),
                labels: labels.len(),
            });
        }
        let mut images: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, patient) in patients.iter().enumerate() {
            images.entry(patient).or_default().push(index);
        }
        let mut strata: BTreeMap<Vec<bool>, Vec<&str>> = BTreeMap::new();
        for (patient, own) in &images {
            let count = own.iter().map(|index| labels[*index].len()).max().unwrap_or(0);
            let present = |label: usize| {
                own.iter()
                    .any(|index| labels[*index].get(label).is_some_and(|v| *v > 0.5))
            };
            strata
                .entry((0..count).map(present).collect())
                .or_default()
                .push(patient);
        }
        let mut strata: Vec<Vec<&str>> = strata.into_values().collect();
        strata.sort_by_key(Vec::len);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut parts = [const { Vec::new() }; 3];
        // what each part is owed, in images; carried over, so that small strata do not all round the same way
        let mut owed = [0.0; 3];
        for mut stratum in strata {
            stratum.shuffle(&mut random);
            for patient in stratum {
                let own = &images[patient];
                for (owed, share) in owed.iter_mut().zip(shares) {
                    *owed += share * own.len() as f64;
                }
                let best = (0..3)
                    .max_by(|left, right| owed[*left].total_cmp(&owed[*right]))
                    .unwrap_or(0);
                owed[best] -= own.len() as f64;
                parts[best].extend(own);
            }
        }
        for part in &mut parts {
            part.sort_unstable();
        }
        let [train, validation, test] = parts;
        let split = Self {
            train,
            validation,
            test,
        };
        split.check(patients)?;
        Ok(split)
    }

    /// The split that was given, image for image; where it has no validation, a share of `validation` of what trains is dealt out for
    /// it. Without any given part, all is dealt out, without a test part.
    pub fn given(
        given: &[Option<Part>],
        patients: &[String],
        labels: &[Vec<f32>],
        validation: f64,
        seed: u64,
    ) -> Result<Self, SplitError> {
        let fractions = Fractions {
            train: 1.0 - validation,
            validation,
            test: 0.0,
        };
        if given.iter().all(Option::is_none) {
            return Self::new(patients, labels, fractions, seed);
        }
        let of = |part| (0..given.len()).filter(move |image| given[*image].unwrap_or(Part::Train) == part);
        let mut split = Self {
            train: of(Part::Train).collect(),
            validation: of(Part::Validation).collect(),
            test: of(Part::Test).collect(),
        };
        split.check(patients)?;
        if split.validation.is_empty() {
            let own = |image: &usize| (patients[*image].clone(), labels[*image].clone());
            let (patients, labels): (Vec<String>, Vec<Vec<f32>>) = split.train.iter().map(own).unzip();
            let dealt = Self::new(&patients, &labels, fractions, seed)?;
            let places = std::mem::take(&mut split.train);
            split.train = dealt.train.iter().map(|place| places[*place]).collect();
            split.validation = dealt.validation.iter().map(|place| places[*place]).collect();
        }
        Ok(split)
    }

    /// Checks that no patient is in two parts.
    pub fn check(&self, patients: &[String]) -> Result<(), SplitError> {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for part in [&self.train, &self.validation, &self.test] {
            let own: BTreeSet<&str> = part.iter().map(|index| patients[*index].as_str()).collect();
            if let Some(patient) = own.iter().find(|patient| seen.contains(*patient)) {
                return Err(SplitError::Leak {
                    patient: (*patient).to_owned(),
                });
            }
            seen.extend(own);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRACTIONS: Fractions = Fractions {
        train: 0.7,
        validation: 0.15,
        test: 0.15,
    };

    /// 1,000 images of 400 patients; label 0 in a third of the patients, label 1 in a tenth.
    fn cases() -> (Vec<String>, Vec<Vec<f32>>) {
        let patients: Vec<usize> = (0..1000).map(|image| image * 7 % 400).collect();
        let labels = patients
            .iter()
            .map(|p| vec![f32::from(u8::from(p % 3 == 0)), f32::from(u8::from(p % 10 == 1))]);
        (
            patients.iter().map(|patient| format!("p{patient}")).collect(),
            labels.collect(),
        )
    }

    #[test]
    fn patients_stay_whole_and_labels_stay_balanced() {
        let (patients, labels) = cases();
        let split = Split::new(&patients, &labels, FRACTIONS, 1).unwrap();
        split.check(&patients).unwrap();
        assert_eq!(
            split.train.len() + split.validation.len() + split.test.len(),
            1000
        );
        assert!(split.train.len().abs_diff(700) <= 3 && split.test.len().abs_diff(150) <= 3);
        for label in 0..2 {
            let rate = |part: &[usize]| {
                part.iter().map(|index| labels[*index][label]).sum::<f32>() / part.len() as f32
            };
            for part in [&split.validation, &split.test] {
                assert!((rate(part) - rate(&split.train)).abs() < 0.03, "label {label}");
            }
        }
    }

    #[test]
    fn one_seed_gives_one_split() {
        let (patients, labels) = cases();
        let with = |seed| Split::new(&patients, &labels, FRACTIONS, seed).unwrap();
        assert_eq!(with(1), with(1));
        assert_ne!(with(1), with(2));
    }

    #[test]
    fn a_patient_on_both_sides_is_found() {
        let patients = ["a", "b", "a"].map(str::to_owned);
        let split = Split {
            train: vec![0],
            validation: vec![1, 2],
            test: Vec::new(),
        };
        assert_eq!(
            split.check(&patients).unwrap_err(),
            SplitError::Leak {
                patient: "a".to_owned()
            }
        );
        let wrong = Fractions {
            train: 0.9,
            validation: 0.2,
            test: 0.0,
        };
        assert!(Split::new(&patients, &vec![vec![0.0]; 3], wrong, 0).is_err());
    }

    #[test]
    fn a_given_split_is_kept_and_gets_its_validation_from_what_trains() {
        let (patients, labels) = cases();
        let given: Vec<Option<Part>> = patients
            .iter()
            .map(|patient| {
                Some(if patient.ends_with('7') {
                    Part::Test
                } else {
                    Part::Train
                })
            })
            .collect();
        let split = Split::given(&given, &patients, &labels, 0.2, 1).unwrap();
        split.check(&patients).unwrap();
        assert!(split.test.iter().all(|image| patients[*image].ends_with('7')));
        let rest = 1000 - split.test.len();
        assert!(split.test.len() >= 80);
        assert_eq!(split.train.len() + split.validation.len(), rest);
        assert!(
            (split.validation.len() * 5).abs_diff(rest) <= 15,
            "{}",
            split.validation.len()
        );
        // nothing is given: all is dealt out
        let none = vec![None; patients.len()];
        let dealt = Split::given(&none, &patients, &labels, 0.2, 1).unwrap();
        assert!(dealt.test.is_empty() && dealt.validation.len().abs_diff(200) <= 3);
        // one patient on both sides
        let mut leaking = given;
        leaking[0] = Some(Part::Test);
        let error = Split::given(&leaking, &patients, &labels, 0.2, 1)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("patient `p0`") && error.contains("leaks.csv"),
            "{error}"
        );
    }

    #[test]
    fn a_class_that_one_patient_alone_has_is_named() {
        let patients = ["a", "a", "b", "c"].map(str::to_owned);
        let labels = vec![
            vec![1.0, f32::NAN],
            vec![1.0, 0.0],
            vec![0.0, 0.0],
            vec![0.0, 0.0],
        ];
        let lone = lone_classes(&patients, &labels);
        assert_eq!(
            lone,
            [LoneClass {
                label: 0,
                present: true
            }]
        );
    }
}
