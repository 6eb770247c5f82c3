//! All that has not been read is read, a group at a time, and put on disk before the next group is begun.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::log::{Done, Entry, WorkLog};
use super::reading::{Outcome, Read, Reader, left_out};
use super::source::{Group, Item, Source, Unread, together};
use super::{IndexError, Job, Watch};
use crate::train::data::archive::ArchiveError;
use crate::train::data::cache::{CacheWriter, hex};

/// Reasons of images that could not be read now, as examples.
const MOST_EXAMPLES: usize = 5;
/// So many images in a row that an archive does not give mean that it gives none.
const MOST_FAILURES: usize = 100;

/// Places that could not be read in this run, by reason: the next one tries again.
#[derive(Clone, Debug, Default)]
pub(super) struct NotNow(pub(super) BTreeMap<String, Vec<String>>);

impl NotNow {
    pub(super) fn note(&mut self, place: String, reason: String) {
        self.0.entry(reason).or_default().push(place);
    }

    pub(super) fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Some reasons, the most frequent first.
    pub(super) fn reasons(&self) -> Vec<String> {
        let mut reasons: Vec<(&String, &Vec<String>)> = self.0.iter().collect();
        reasons.sort_by_key(|(_, places)| std::cmp::Reverse(places.len()));
        let reasons = reasons.into_iter().take(MOST_EXAMPLES);
        reasons.map(|(reason, _)| reason.clone()).collect()
    }
}

/// Reads what has not been read; gives the places of all, in their order.
pub(super) fn read(
    job: &Job<'_>,
    source: &Source<'_>,
    log: &mut WorkLog,
    mut cache: Option<&mut CacheWriter>,
    not_now: &mut NotNow,
    watch: &dyn Watch,
) -> Result<Vec<String>, IndexError> {
    let reader = Reader {
        key: job.key,
        modalities: job.modalities,
        contract: job.contract,
    };
    let (mut places, mut failures) = (Vec::new(), 0);
    for group in source.groups() {
        let Group { items, unlisted } = group?;
        failures += unlisted.len();
        for (place, reason) in unlisted {
            not_now.note(place, reason);
        }
        let mut wanted = Vec::new();
        for item in items {
            if item
                .modality
                .as_ref()
                .is_some_and(|own| !job.modalities.contains(own))
            {
                watch.step();
                continue;
            }
            if is_wanted(&item, job, log, cache.as_deref())? {
                wanted.push(item.clone());
            } else {
                watch.step();
            }
            places.push(item.place);
        }
        let mut wanted = wanted.into_iter().peekable();
        while wanted.peek().is_some() {
            let few = wanted.by_ref().take(together()).collect();
            let taken = take(few, source, &reader, log, cache.as_deref_mut(), watch)?;
            match taken.got {
                0 => failures += taken.failed.len(),
                _ => failures = 0,
            }
            for (place, reason) in taken.failed {
                not_now.note(place, reason);
            }
            let Some(archive) = job.archive else { continue };
            if let Some(error) = archive.ended() {
                return Err(error.clone().into());
            }
            if failures >= MOST_FAILURES {
                let cause = not_now.reasons().into_iter().next().unwrap_or_default();
                let count = failures;
                return Err(ArchiveError::Nothing { count, cause }.into());
            }
        }
    }
    Ok(places)
}

/// What came of some images.
struct Taken {
    /// How many were read.
    got: usize,
    /// Those that could not be read now, and why.
    failed: Vec<(String, String)>,
}

/// Reads images on all cores, and puts them on disk.
fn take(
    few: Vec<Item>,
    source: &Source<'_>,
    reader: &Reader<'_>,
    log: &mut WorkLog,
    cache: Option<&mut CacheWriter>,
    watch: &dyn Watch,
) -> Result<Taken, IndexError> {
    let done: Vec<(Item, Result<Read, Unread>)> = few
        .into_par_iter()
        .map(|item| {
            let read = source.read(&item.place).map(|bytes| reader.read(bytes));
            watch.step();
            (item, read)
        })
        .collect();
    let (mut entries, mut planes, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (item, read) in done {
        let (digest, outcome) = match read {
            Ok(read) => {
                planes.extend(read.plane.map(|plane| (read.digest, plane)));
                (hex(&read.digest), read.outcome)
            }
            Err(Unread::Ever(code, reason)) => (String::new(), left_out(code, &reason)),
            Err(Unread::Now(reason)) => {
                failed.push((item.place, reason));
                continue;
            }
        };
        entries.push(Entry {
            place: item.place,
            stamp: item.stamp,
            digest,
            outcome,
        });
    }
    // images before lines: a line says that the image is there
    if let Some(cache) = cache {
        cache.add(&planes)?;
    }
    log.add(&entries)?;
    Ok(Taken {
        got: entries.len(),
        failed,
    })
}

/// Whether an image has to be read: it is new, it changed, or the cache has not got it.
fn is_wanted(
    item: &Item,
    job: &Job<'_>,
    log: &WorkLog,
    cache: Option<&CacheWriter>,
) -> Result<bool, IndexError> {
    Ok(match log.done(&item.place, item.stamp) {
        None => true,
        Some(Done::Image(digest)) => cache.is_some_and(|cache| cache.cache().record(&digest).is_none()),
        Some(Done::LeftOut) => false,
        Some(Done::OtherModality) => match log.entry(&item.place)?.map(|entry| entry.outcome) {
            Some(Outcome::OtherModality(own)) => job.modalities.contains(&own),
            _ => true,
        },
    })
}
