//! The files of an index, written anew in each run; each gets its name when it is whole, `index.json` last.

use std::collections::{BTreeMap, BTreeSet};

use super::assemble::Assembly;
use super::draft::{Draft, Table};
use super::reading::Outcome;
use super::report::Report;
use super::row::COLUMNS;
use super::sameness::Duplicate;
use super::sheet::Choice;
use super::summary::{Leaks, Summary};
use super::tally::{BODY_PART, Tally};
use super::{FORM, IMAGES, IndexError, Run};
use crate::train::data::labels::{Joined, Part};

/// The code of what could not be read in this run.
const NOT_NOW: &str = "not-now";

/// Writes all tables and the report.
pub(super) fn write(run: &Run<'_>, said: &mut Joined) -> Result<Summary, IndexError> {
    let left_out = left_out(run)?;
    run.watch.phase("joining", run.places.len() as u64);
    let mut images = Assembly::new(run, said)?;
    if images.len() == 0 {
        return Err(nothing(run, &left_out));
    }
    let mut tally = Tally::new(images.labels());
    let mut choice = Choice::default();
    run.watch.phase("writing", images.len() as u64);
    rows(run, &mut images, &mut tally, &mut choice)?;
    let leaks = leaks(run, &mut images)?;
    let (duplicates, across) = duplicates(run, &images)?;
    let mappings = tally.mappings();
    let mut table = Table::create(
        run.out,
        "mapping.csv",
        ["what", "where", "said", "stands_for", "images"],
    )?;
    for mapping in &mappings {
        let (said, name) = (mapping.said.as_deref(), mapping.name);
        let count = mapping.images.to_string();
        table.push([
            mapping.kind,
            mapping.origin.name(),
            said.unwrap_or_default(),
            name.unwrap_or_default(),
            &count,
        ])?;
    }
    table.finish()?;
    let of_no_part = tally.columns.get(BODY_PART).and_then(|parts| parts.get(""));
    let summary = Summary {
        osteon_index: FORM,
        images: images.len(),
        patients: images.patients,
        without_patient: images.without_patient,
        labelled: tally.labelled,
        label_sources: images.label_sources(),
        without_body_part: of_no_part.copied().unwrap_or_default(),
        columns: tally.columns.clone(),
        labels: tally.labels.clone(),
        left_out,
        not_now: run.not_now.count(),
        not_now_reasons: run.not_now.reasons(),
        archive_repeats: run.repeats,
        duplicates,
        copies_across_patients: across.len(),
        leaks,
        unused_lines: images.unused_lines(),
        contradictions: images.contradictions,
    };
    let report = Report {
        summary: &summary,
        mappings: &mappings,
        disagreements: &tally.disagreements,
        more_words: tally.more_words,
        choice: &choice,
        across: &across,
    };
    Draft::whole(run.out, "report.html", report.html(run, &images).as_bytes())?;
    let json = serde_json::to_string_pretty(&summary);
    let json = json.map_err(|error| IndexError::writing(&run.out.join("index.json"), &error))?;
    Draft::whole(run.out, "index.json", json.as_bytes())?;
    Ok(summary)
}

/// The table itself, and beside it where its images are and what its codes stand for.
fn rows(
    run: &Run<'_>,
    images: &mut Assembly<'_>,
    tally: &mut Tally,
    choice: &mut Choice,
) -> Result<(), IndexError> {
    let labels = images.labels().to_vec();
    let header = COLUMNS.into_iter().chain(labels.iter().map(String::as_str));
    let mut table = Table::create(run.out, IMAGES, header)?;
    let mut files = Table::create(run.out, "files.csv", ["image", "place"])?;
    let mut names: BTreeSet<(String, String)> = BTreeSet::new();
    for image in 0..images.len() {
        let (row, named) = images.row(image, tally)?;
        let cells = row.cells();
        table.push(cells.iter().map(String::as_str))?;
        files.push([row.image.as_str(), images.place(image)])?;
        names.extend(named.into_iter().flatten());
        choice.offer(images.place(image), &row);
        run.watch.step();
    }
    let mut known = Table::create(run.out, "names.csv", ["code", "name"])?;
    for (code, name) in &names {
        known.push([code.as_str(), name])?;
    }
    known.finish()?;
    files.finish()?;
    table.finish()
}

/// Files that are no rows, with their paths; by reason, how many of those that the next run does not try again.
fn left_out(run: &Run<'_>) -> Result<BTreeMap<String, u64>, IndexError> {
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    let mut table = Table::create(run.out, "left-out.csv", ["place", "code", "reason"])?;
    for place in run.places {
        let (code, reason) = match run.log.entry(place)?.map(|entry| entry.outcome) {
            Some(Outcome::LeftOut(why)) => (why.code, why.reason),
            Some(Outcome::OtherModality(own)) => (
                "modality".to_owned(),
                format!("its modality {own} is none of --modality"),
            ),
            Some(Outcome::Image(facts)) if !run.takes(&facts.modality) => (
                "modality".to_owned(),
                format!("its modality {} is none of --modality", facts.modality),
            ),
            _ => continue,
        };
        table.push([place.as_str(), &code, &reason])?;
        *reasons.entry(reason).or_default() += 1;
    }
    for (reason, places) in &run.not_now.0 {
        for place in places {
            table.push([place, NOT_NOW, reason.as_str()])?;
        }
    }
    table.finish()?;
    Ok(reasons)
}

fn nothing(run: &Run<'_>, left_out: &BTreeMap<String, u64>) -> IndexError {
    let most = left_out.iter().max_by_key(|(_, count)| **count);
    let why = match (most, run.not_now.reasons().first()) {
        (Some((reason, count)), _) => format!("of {count}: {reason}"),
        (None, Some(reason)) => reason.clone(),
        (None, None) => "none is of a modality that was asked for".to_owned(),
    };
    IndexError::Nothing {
        files: run.places.len(),
        why,
    }
}

/// What stands on both sides of the split that was given.
fn leaks(run: &Run<'_>, images: &mut Assembly<'_>) -> Result<Leaks, IndexError> {
    let header = ["what", "group", "first", "first_part", "second", "second_part"];
    let mut table = Table::create(run.out, "leaks.csv", header)?;
    let (patients, copies) = images.leaks();
    let patients_too = patients.iter().map(|pair| ("patient", *pair));
    let copies_too = copies.iter().map(|pair| ("copy", *pair));
    for (what, [first, second]) in patients_too.chain(copies_too) {
        let [group, one, other] = [images.group(first)?, images.name(first)?, images.name(second)?];
        let part = |image| images.split(image).map_or("", Part::name);
        table.push([what, &group, &one, part(first), &other, part(second)])?;
    }
    table.finish()?;
    Ok(Leaks {
        patients: patients.len(),
        copies: copies.len(),
    })
}

/// Copies: how many of each kind, and those that are under two patients.
fn duplicates(
    run: &Run<'_>,
    images: &Assembly<'_>,
) -> Result<(BTreeMap<&'static str, usize>, Vec<Duplicate>), IndexError> {
    let header = ["same", "likeness", "first", "second", "same_patient"];
    let mut table = Table::create(run.out, "duplicates.csv", header)?;
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut across = Vec::new();
    for pair in &images.duplicates {
        *counts.entry(pair.sameness.name()).or_default() += 1;
        let same_patient = images.same_patient(pair);
        if !same_patient {
            across.push(*pair);
        }
        let likeness = format!("{:.3}", pair.likeness);
        let (first, second) = (images.name(pair.first)?, images.name(pair.second)?);
        let same_patient = if same_patient { "1" } else { "0" };
        table.push([pair.sameness.name(), &likeness, &first, &second, same_patient])?;
    }
    table.finish()?;
    Ok((counts, across))
}
