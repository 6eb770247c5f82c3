//! Public sets of radiographs, recognised by their own folders and tables: one file for each.
//!
//! What a set says of its images becomes [`Statements`] like a CSV of the user's. A set that has no patients gets none made up.

mod bone_age;
pub mod medmnist;
mod mura;
mod nih;
mod padchest;
mod vindr_spine;

#[cfg(test)]
mod tests;

use std::path::Path;

use super::labels::{LabelError, Statements};

/// The set that lies in `folder`, or right below it.
///
/// # Errors
/// [`LabelError`], where a table of a set cannot be read.
pub fn recognised(folder: &Path) -> Result<Option<Box<dyn Statements>>, LabelError> {
    if let Some(set) = in_folder(folder)? {
        return Ok(Some(set));
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut below: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    below.sort();
    for folder in below {
        if let Some(set) = in_folder(&folder)? {
            return Ok(Some(set));
        }
    }
    Ok(None)
}

fn in_folder(folder: &Path) -> Result<Option<Box<dyn Statements>>, LabelError> {
    if let Some(set) = mura::Mura::in_folder(folder) {
        return Ok(Some(Box::new(set)));
    }
    if let Some(set) = nih::ChestXray14::in_folder(folder)? {
        return Ok(Some(Box::new(set)));
    }
    if let Some(set) = bone_age::BoneAge::in_folder(folder)? {
        return Ok(Some(Box::new(set)));
    }
    if let Some(set) = vindr_spine::VinDrSpine::in_folder(folder)? {
        return Ok(Some(Box::new(set)));
    }
    match padchest::PadChest::in_folder(folder)? {
        Some(set) => Ok(Some(Box::new(set))),
        None => Ok(None),
    }
}

/// The last part of a file's path, without its extension.
fn stem(file: &Path) -> String {
    file.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The last part of a file's path.
fn name(file: &Path) -> String {
    file.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// `1` where a finding is among those that are there, otherwise `0`.
fn present(found: bool) -> String {
    if found { "1" } else { "0" }.to_owned()
}

/// A finding's name as a column: lower case, words joined by `_`.
fn column(finding: &str) -> String {
    let words = finding.split(|character: char| !character.is_alphanumeric());
    let words: Vec<String> = words
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    words.join("_")
}
