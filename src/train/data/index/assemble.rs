//! From the work log and what is said elsewhere to the table: patients, groups, copies, leaks.
//!
//! Two passes over the log in the order of the places: the first holds some hundred bytes of each image, the second writes a row for
//! each. Nothing else grows with the number of images.

use std::collections::hash_map::{DefaultHasher, Entry as Slot};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};

use super::facts::Facts;
use super::groups::Groups;
use super::near::Pictures;
use super::reading::Outcome;
use super::row::Row;
use super::sameness::{Duplicate, Sameness};
use super::source::file_of;
use super::tally::{BODY_PART, Tally};
use super::{IndexError, Run};
use crate::train::data::anatomy::{Names, PARTS, SIDES, Said, VIEWS};
use crate::train::data::cache::{Digest, unhex};
use crate::train::data::labels::{Joined, Known, Part, Stated};
use crate::train::data::split::with_their_groups;

/// Codes of a site and of a machine, with the names behind them.
pub(super) type CodeNames = [Option<(String, String)>; 2];

/// What is held of an image.
struct Light {
    /// Its place in the list of places.
    place: u32,
    patient: u32,
    /// As it was given; once groups are known, that of its patient or group where none was given for it.
    split: Option<Part>,
    /// Whether something may be written in its pixels.
    inscribed: bool,
    instance: u64,
}

/// Images by what exact copies have in common.
#[derive(Default)]
struct Seen {
    by_digest: HashMap<Digest, u32>,
    by_instance: HashMap<u64, u32>,
}

impl Seen {
    /// The earlier image that `image` is an exact copy of, if it is one.
    fn original(&mut self, image: usize, digest: Digest, instance: u64) -> Option<(usize, Sameness)> {
        let own = image as u32;
        let bytes = *self.by_digest.entry(digest).or_insert(own);
        let named = *self.by_instance.entry(instance).or_insert(own);
        match (bytes < own, named < own) {
            (true, _) => Some((bytes as usize, Sameness::Bytes)),
            (_, true) => Some((named as usize, Sameness::Instance)),
            _ => None,
        }
    }
}

/// The images of an index, with what ties them.
pub(super) struct Assembly<'a> {
    run: &'a Run<'a>,
    said: &'a mut Joined,
    light: Vec<Light>,
    groups: Groups,
    pub(super) duplicates: Vec<Duplicate>,
    /// For each image the one that it is a copy of.
    copies: HashMap<u32, u32>,
    pub(super) patients: usize,
    pub(super) without_patient: u64,
    /// How often one label source contradicted an earlier one.
    pub(super) contradictions: u64,
}

impl<'a> Assembly<'a> {
    /// Looks at all images and ties what belongs together.
    pub(super) fn new(run: &'a Run<'a>, said: &'a mut Joined) -> Result<Self, IndexError> {
        let mut assembly = Self {
            run,
            said,
            light: Vec::new(),
            groups: Groups::new(0),
            duplicates: Vec::new(),
            copies: HashMap::new(),
            patients: 0,
            without_patient: 0,
            contradictions: 0,
        };
        let mut patients: HashMap<u64, u32> = HashMap::new();
        let (mut seen, mut pictures) = (Seen::default(), Pictures::default());
        for (place, name) in run.places.iter().enumerate() {
            run.watch.step();
            let Some((facts, digest)) = assembly.facts(name)? else {
                continue;
            };
            let stated = assembly.stated(name, &facts)?;
            let patient = assembly.patient(&facts, stated.as_ref());
            assembly.without_patient += u64::from(patient.is_none());
            let patient = hashed(patient.as_ref().unwrap_or(&facts.image));
            let count = patients.len() as u32;
            let image = assembly.light.len();
            let instance = hashed(&facts.image);
            assembly.light.push(Light {
                place: place as u32,
                patient: *patients.entry(patient).or_insert(count),
                split: stated.and_then(|stated| stated.split),
                inscribed: facts.burned_in.is_suspected(),
                instance,
            });
            // exact copies need no comparison: they look like what they are copies of
            match seen.original(image, unhex(&digest).unwrap_or_default(), instance) {
                Some((first, sameness)) => assembly.duplicates.push(Duplicate {
                    first,
                    second: image,
                    sameness,
                    likeness: 1.0,
                }),
                None => pictures.push(image, &facts.fingerprints),
            }
        }
        drop(seen);
        assembly.patients = patients.len();
        assembly.contradictions = assembly.said.contradictions();
        assembly.tie(&pictures);
        assembly.complete_split();
        Ok(assembly)
    }

    /// An image without a part of the split is in that of its patient, or of its group.
    fn complete_split(&mut self) {
        let patients: Vec<u32> = self.light.iter().map(|light| light.patient).collect();
        let groups: Vec<u32> = (0..self.light.len())
            .map(|image| self.groups.first(image) as u32)
            .collect();
        for owners in [patients, groups] {
            let given: Vec<Option<Part>> = self.light.iter().map(|light| light.split).collect();
            let parts = with_their_groups(&given, &owners);
            for (light, part) in self.light.iter_mut().zip(parts) {
                light.split = part;
            }
        }
    }

    fn tie(&mut self, pictures: &Pictures) {
        self.groups = Groups::new(self.light.len());
        let mut first_of: HashMap<u32, usize> = HashMap::new();
        for (place, light) in self.light.iter().enumerate() {
            match first_of.entry(light.patient) {
                Slot::Occupied(first) => self.groups.join(*first.get(), place),
                Slot::Vacant(none) => drop(none.insert(place)),
            }
        }
        let watch = self.run.watch;
        watch.phase("comparing", Pictures::STEPS as u64);
        let pairs = pictures.pairs(|| watch.step());
        self.duplicates.extend(pairs.into_iter().map(|pair| Duplicate {
            first: pair.first,
            second: pair.second,
            sameness: Sameness::Picture(pair.form),
            likeness: pair.likeness,
        }));
        self.duplicates.sort_by_key(|pair| (pair.second, pair.first));
        for pair in &self.duplicates {
            if self.run.job.tie_pictures || !matches!(pair.sameness, Sameness::Picture(_)) {
                self.groups.join(pair.first, pair.second);
            }
            self.copies.entry(pair.second as u32).or_insert(pair.first as u32);
        }
    }

    /// How many images there are.
    pub(super) fn len(&self) -> usize {
        self.light.len()
    }

    /// Where an image is.
    pub(super) fn place(&self, image: usize) -> &'a str {
        &self.run.places[self.light[image].place as usize]
    }

    /// Where an image is that people may be shown; nothing where something may be written in its pixels.
    pub(super) fn shown_place(&self, image: usize) -> Option<&'a str> {
        (!self.light[image].inscribed).then(|| self.place(image))
    }

    /// The part of the split in which an image is.
    pub(super) fn split(&self, image: usize) -> Option<Part> {
        self.light[image].split
    }

    /// Whether two images are the same patient's.
    pub(super) fn same_patient(&self, pair: &Duplicate) -> bool {
        self.light[pair.first].patient == self.light[pair.second].patient
    }

    /// The labels of all sources.
    pub(super) fn labels(&self) -> &[String] {
        self.said.columns()
    }

    /// Where labels come from.
    pub(super) fn label_sources(&self) -> Vec<String> {
        self.said.titles()
    }

    /// Lines of label sources that no image belongs to: source, how many, the first of them.
    pub(super) fn unused_lines(&self) -> Vec<(String, usize, Vec<u64>)> {
        let unused = self.said.unused().into_iter();
        unused
            .map(|(title, unused)| (title, unused.count, unused.lines))
            .collect()
    }

    /// What stands in two parts of the split: two images of one patient; and two that are the same under two patients, or that only a
    /// third one, which is in no part, ties together.
    pub(super) fn leaks(&mut self) -> (Vec<[usize; 2]>, Vec<[usize; 2]>) {
        let mut first_of: HashMap<u32, usize> = HashMap::new();
        let mut leaks: BTreeMap<u32, [usize; 2]> = BTreeMap::new();
        for (image, light) in self
            .light
            .iter()
            .enumerate()
            .filter(|(_, light)| light.split.is_some())
        {
            let first = *first_of.entry(light.patient).or_insert(image);
            if self.light[first].split != light.split {
                leaks.entry(light.patient).or_insert([first, image]);
            }
        }
        let mut copies = Vec::new();
        for pair in &self.duplicates {
            let [first, second] = [pair.first, pair.second].map(|image| self.light[image].split);
            let together = self.groups.first(pair.first) == self.groups.first(pair.second);
            if together && first.is_some() && second.is_some() && first != second && !self.same_patient(pair)
            {
                copies.push([pair.first, pair.second]);
            }
        }
        copies.extend(self.tied_by_others(leaks.values().chain(&copies)));
        let mut patients: Vec<[usize; 2]> = leaks.into_values().collect();
        patients.sort_unstable();
        (patients, copies)
    }

    /// Of each group in two parts that no pair of `known` is of, two images in them.
    fn tied_by_others<'p>(&mut self, known: impl Iterator<Item = &'p [usize; 2]>) -> Vec<[usize; 2]> {
        let mut done: HashSet<usize> = known.map(|pair| self.groups.first(pair[0])).collect();
        let mut first_of: HashMap<usize, usize> = HashMap::new();
        let mut pairs = Vec::new();
        for image in 0..self.light.len() {
            if self.light[image].split.is_none() {
                continue;
            }
            let group = self.groups.first(image);
            let first = *first_of.entry(group).or_insert(image);
            if self.light[first].split != self.light[image].split && done.insert(group) {
                pairs.push([first, image]);
            }
        }
        pairs
    }

    /// The row of an image, with the names behind the codes of its site and its machine.
    pub(super) fn row(&mut self, image: usize, tally: &mut Tally) -> Result<(Row, CodeNames), IndexError> {
        let place = self.place(image);
        let (facts, digest) = self.facts(place)?.ok_or(IndexError::Changed)?;
        let stated = self.stated(place, &facts)?;
        let site = site(&facts, stated.as_ref()).map(str::to_owned);
        let mut row = self.described(&facts, stated, tally, self.light[image].patient);
        row.digest = digest;
        row.split = self.light[image].split;
        row.image = self.name_of(image, &facts);
        if let Some(first) = self.copies.get(&(image as u32)).copied() {
            row.duplicate_of = self.name(first as usize)?;
        }
        row.group = if self.groups.first(image) == image {
            row.patient.clone()
        } else {
            self.group(image)?
        };
        tally.row(&row, self.light[image].patient);
        let named = |code: &str, name: Option<String>| Some((code.to_owned(), name?));
        let names = [named(&row.site, site), named(&row.scanner, facts.scanner)];
        Ok((row, names))
    }

    /// The name of an image.
    pub(super) fn name(&self, image: usize) -> Result<String, IndexError> {
        let (facts, _) = self.facts(self.place(image))?.ok_or(IndexError::Changed)?;
        Ok(self.name_of(image, &facts))
    }

    /// A copy of an instance has a name of its own.
    fn name_of(&self, image: usize, facts: &Facts) -> String {
        let first = self.copies.get(&(image as u32)).map(|first| *first as usize);
        if first.is_some_and(|first| self.light[first].instance == self.light[image].instance) {
            return self
                .run
                .job
                .key
                .uid(&format!("{}\0{}", facts.image, self.place(image)));
        }
        facts.image.clone()
    }

    /// A group is called after the first of its patients.
    pub(super) fn group(&mut self, image: usize) -> Result<String, IndexError> {
        let first = self.groups.first(image);
        let place = self.place(first);
        let (facts, _) = self.facts(place)?.ok_or(IndexError::Changed)?;
        let stated = self.stated(place, &facts)?;
        Ok(self.patient(&facts, stated.as_ref()).unwrap_or(facts.image))
    }

    fn described(&self, facts: &Facts, stated: Option<Stated>, tally: &mut Tally, patient: u32) -> Row {
        let pseudonym = self
            .patient(facts, stated.as_ref())
            .unwrap_or_else(|| facts.image.clone());
        let site = site(facts, stated.as_ref()).map_or(String::new(), |name| self.code("site", 'S', name));
        let labelled = stated.is_some();
        let stated = stated.unwrap_or_else(|| Stated {
            labels: vec![String::new(); self.said.columns().len()],
            ..Stated::default()
        });
        let mut named = |kind, names: &'static Names, given: Option<&str>, said: Said<'_>| {
            // what the user says counts alone
            let said = match given {
                Some(given) => Said {
                    attribute: Some(given),
                    ..Said::default()
                },
                None => said,
            };
            tally.words(kind, names.mapped(said), patient);
            names.of(said).unwrap_or_default()
        };
        let words = facts.descriptions.as_slice();
        let part = Said {
            code: facts.region_code.as_deref(),
            attribute: facts.body_part.as_deref(),
            descriptions: words,
        };
        let view = Said {
            code: facts.view_code.as_deref(),
            attribute: facts.view.as_deref(),
            descriptions: words,
        };
        let side = Said {
            code: None,
            attribute: facts.laterality.as_deref(),
            descriptions: words,
        };
        Row {
            patient: pseudonym,
            study: facts.study.clone().unwrap_or_default(),
            modality: facts.modality.clone(),
            body_part: named(BODY_PART, &PARTS, stated.body_part.as_deref(), part),
            view: named("view", &VIEWS, stated.view.as_deref(), view),
            laterality: named("side", &SIDES, stated.laterality.as_deref(), side),
            age: stated.age.or(facts.age),
            sex: stated
                .sex
                .map_or_else(|| facts.sex.clone().unwrap_or_default(), str::to_owned),
            site,
            scanner: facts
                .scanner
                .as_ref()
                .map_or(String::new(), |name| self.code("scanner", 'M', name)),
            spacing: stated.spacing.or(facts.spacing),
            size: facts.size,
            polarity: facts.polarity.clone().unwrap_or_default(),
            burned_in: facts.burned_in,
            labelled,
            labels: stated.labels,
            ..Row::default()
        }
    }

    /// A code for an institution or a machine; how it is written, in which case and with which spaces, does not count.
    fn code(&self, purpose: &str, letter: char, name: &str) -> String {
        let plain = name
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .to_lowercase();
        format!("{letter}{}", self.run.job.key.code(purpose, &plain))
    }

    fn patient(&self, facts: &Facts, stated: Option<&Stated>) -> Option<String> {
        let given = stated.and_then(|stated| stated.patient.as_deref());
        given
            .map(|id| self.run.job.key.pseudonym(id))
            .or_else(|| facts.patient.clone())
    }

    fn stated(&mut self, place: &str, facts: &Facts) -> Result<Option<Stated>, IndexError> {
        Ok(self.said.of(&Known {
            file: file_of(place),
            image: &facts.image,
            study: facts.study.as_deref(),
            accession: facts.accession.as_deref(),
            patient: facts.patient.as_deref(),
            size: facts.size,
        })?)
    }

    /// What the log has of an image; nothing of a place that has none.
    fn facts(&self, place: &str) -> Result<Option<(Facts, String)>, IndexError> {
        let entry = self.run.log.entry(place)?;
        Ok(entry.and_then(|entry| match entry.outcome {
            Outcome::Image(facts) if self.run.takes(&facts.modality) => Some((*facts, entry.digest)),
            _ => None,
        }))
    }
}

/// Where an image was made: what is said of it counts more than its header.
fn site<'a>(facts: &'a Facts, stated: Option<&'a Stated>) -> Option<&'a str> {
    let stated = stated.and_then(|stated| stated.site.as_deref());
    stated.or(facts.institution.as_deref())
}

/// The same in every run: the hasher has no seed.
fn hashed(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
