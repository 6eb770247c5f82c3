//! Several sources of statements as one: what an earlier one says of an image is not said again by a later one.

use super::{Known, LabelError, Stated, Statements, Unused};

/// Several sources.
#[derive(Default)]
pub struct Joined {
    sources: Vec<Source>,
    columns: Vec<String>,
    /// How often a later source said something else of a label.
    contradictions: u64,
}

struct Source {
    statements: Box<dyn Statements>,
    /// Where its labels are among all.
    places: Vec<usize>,
}

impl Joined {
    /// Adds a source.
    pub fn push(&mut self, statements: Box<dyn Statements>) {
        let mut places = Vec::new();
        for column in statements.columns() {
            let known = self.columns.iter().position(|own| own == column);
            places.push(known.unwrap_or_else(|| {
                self.columns.push(column.clone());
                self.columns.len() - 1
            }));
        }
        self.sources.push(Source { statements, places });
    }

    /// The labels of all.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// What all say of an image, or nothing where none does.
    ///
    /// # Errors
    /// [`LabelError`], which names the file and the line.
    pub fn of(&mut self, image: &Known<'_>) -> Result<Option<Stated>, LabelError> {
        let mut joined: Option<Stated> = None;
        for Source { statements, places } in &mut self.sources {
            let Some(said) = statements.of(image)? else {
                continue;
            };
            let all = joined.get_or_insert_with(|| Stated {
                labels: vec![String::new(); self.columns.len()],
                ..Stated::default()
            });
            for (place, label) in places.iter().zip(said.labels) {
                let own = &mut all.labels[*place];
                if own.is_empty() {
                    *own = label;
                } else if !label.is_empty() && *own != label {
                    self.contradictions += 1;
                }
            }
            all.patient = all.patient.take().or(said.patient);
            all.split = all.split.or(said.split);
            all.age = all.age.or(said.age);
            all.sex = all.sex.or(said.sex);
            all.body_part = all.body_part.take().or(said.body_part);
            all.view = all.view.take().or(said.view);
            all.laterality = all.laterality.take().or(said.laterality);
            all.site = all.site.take().or(said.site);
            all.spacing = all.spacing.or(said.spacing);
        }
        Ok(joined)
    }

    /// How often sources contradicted each other since the last call.
    pub fn contradictions(&mut self) -> u64 {
        std::mem::take(&mut self.contradictions)
    }

    /// The sources that have lines of which no image is known.
    #[must_use]
    pub fn unused(&self) -> Vec<(String, Unused)> {
        let all = self.sources.iter();
        all.map(|source| (source.statements.title(), source.statements.unused()))
            .filter(|(_, unused)| unused.count > 0)
            .collect()
    }

    /// What the sources are.
    #[must_use]
    pub fn titles(&self) -> Vec<String> {
        self.sources
            .iter()
            .map(|source| source.statements.title())
            .collect()
    }
}
