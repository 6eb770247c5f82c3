//! Cells of a table that are labels, and the numbers that they become.

/// One column with labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What its cells hold.
    pub kind: Kind,
}

/// What cells hold; an empty one is unknown in any column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 0 or 1.
    Finding,
    /// The name of one of these, which exclude each other.
    Classes(Vec<String>),
    /// A number.
    Number,
}

impl Column {
    /// The labels of a cell: one value, or one for each class, NaN where unknown; none for a cell that holds something else.
    #[must_use]
    pub fn read(&self, cell: &str) -> Option<Vec<f32>> {
        match &self.kind {
            Kind::Finding | Kind::Number if cell.is_empty() => Some(vec![f32::NAN]),
            Kind::Classes(classes) if cell.is_empty() => Some(vec![f32::NAN; classes.len()]),
            Kind::Finding => match cell {
                "0" => Some(vec![0.0]),
                "1" => Some(vec![1.0]),
                _ => None,
            },
            Kind::Classes(classes) => {
                let chosen = classes.iter().position(|class| class == cell)?;
                Some(
                    (0..classes.len())
                        .map(|class| f32::from(u8::from(class == chosen)))
                        .collect(),
                )
            }
            Kind::Number => cell
                .parse()
                .ok()
                .filter(|number: &f32| number.is_finite())
                .map(|number| vec![number]),
        }
    }

    /// What its cells may hold, in words.
    #[must_use]
    pub fn allowed(&self) -> String {
        match &self.kind {
            Kind::Finding => "0, 1 or empty".to_owned(),
            Kind::Classes(classes) => format!("one of {}, or empty", classes.join(", ")),
            Kind::Number => "a number or empty".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_become_labels_or_are_refused() {
        let column = |kind| Column {
            name: "x".to_owned(),
            kind,
        };
        let grade = column(Kind::Classes(["none", "mild"].map(str::to_owned).to_vec()));
        assert_eq!(grade.read("mild"), Some(vec![0.0, 1.0]));
        assert_eq!(grade.read("severe"), None);
        assert!(grade.read("").unwrap().iter().all(|label| label.is_nan()));
        assert_eq!(grade.allowed(), "one of none, mild, or empty");
        assert_eq!(column(Kind::Number).read("62.5"), Some(vec![62.5]));
        assert_eq!(column(Kind::Number).read("inf"), None);
        assert_eq!(column(Kind::Finding).read("2"), None);
        assert!(column(Kind::Finding).read("").unwrap()[0].is_nan());
    }
}
