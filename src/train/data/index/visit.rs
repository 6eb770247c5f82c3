//! The images of a table, a few at a time, so that memory does not grow with them.

use std::path::Path;

use super::labelled::{LabelledError, LabelledRow};
use super::loading::{Labelled, read};
use crate::image::preprocess::Preprocessing;

/// Images that are in memory at once.
const A_FEW: usize = 256;

/// Reads the images of `rows`, which stand in `csv`, as [`load`](super::load) does; `visit` is given a few at a time, also where none of
/// them could be read. `step` is called for each row.
///
/// # Errors
/// [`LabelledError::Cache`], and what `visit` says.
pub fn visit<E: From<LabelledError>>(
    csv: &Path,
    rows: Vec<LabelledRow>,
    contract: &Preprocessing,
    step: impl Fn() + Sync,
    mut visit: impl FnMut(Labelled) -> Result<(), E>,
) -> Result<(), E> {
    let mut rows = rows.into_iter();
    loop {
        let few: Vec<LabelledRow> = rows.by_ref().take(A_FEW).collect();
        if few.is_empty() {
            return Ok(());
        }
        visit(read(csv, few, contract, &step)?)?;
    }
}
