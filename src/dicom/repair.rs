//! What was wrong with the form of a file and could be put right without doubt about its content.
//!
//! Other tools accept such files, so archives are full of them. What is stored stays as it was sent; a result says which
//! repairs were needed to read it.

/// One thing that was put right. Their order is that of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Repair {
    /// The 128 bytes before `DICM` (PS3.10 section 7.1).
    Preamble,
    /// The prefix `DICM` itself.
    Prefix,
    /// The whole of group 0002.
    FileMeta,
    /// File Meta Information Group Length (0002,0000).
    GroupLength,
    /// Transfer Syntax UID (0002,0010).
    TransferSyntax,
    /// A value of an odd number of bytes, or one that ends within a number.
    OddLength,
    /// A value representation.
    ValueRepresentation,
    /// The end of a sequence, an item or of compressed pixels.
    Delimiter,
    /// What lies behind the last element.
    TrailingBytes,
}

impl Repair {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Preamble => "no-preamble",
            Self::Prefix => "no-prefix",
            Self::FileMeta => "no-file-meta",
            Self::GroupLength => "group-length",
            Self::TransferSyntax => "transfer-syntax",
            Self::OddLength => "odd-length",
            Self::ValueRepresentation => "value-representation",
            Self::Delimiter => "no-delimiter",
            Self::TrailingBytes => "trailing-bytes",
        }
    }

    /// What was wrong, and what was done about it.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::Preamble => "the preamble of 128 bytes is missing: the file was read without it",
            Self::Prefix => "the prefix DICM is missing: the file was read without it",
            Self::FileMeta => {
                "the file meta information is missing: how the data set is written was told from its first element"
            }
            Self::GroupLength => {
                "File Meta Information Group Length (0002,0000) is missing or wrong: group 0002 was read to its end"
            }
            Self::TransferSyntax => {
                "Transfer Syntax UID (0002,0010) is missing or is not how the data set is written: it was told from the first element"
            }
            Self::OddLength => {
                "a value has an odd number of bytes, or ends within a number: it was read as far as it is whole"
            }
            Self::ValueRepresentation => {
                "an element has no valid value representation, or one that its value cannot have: the data dictionary's was taken"
            }
            Self::Delimiter => {
                "a sequence, an item or the pixel data has no end: it was closed where the file ends"
            }
            Self::TrailingBytes => "there are bytes behind the last element: they were left out",
        }
    }
}

/// The repairs of one file, each at most once, in the order of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repairs(Vec<Repair>);

impl Repairs {
    pub(super) fn add(&mut self, repair: Repair) {
        if let Err(place) = self.0.binary_search(&repair) {
            self.0.insert(place, repair);
        }
    }

    pub(super) fn join(&mut self, others: &Self) {
        for repair in &others.0 {
            self.add(*repair);
        }
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = Repair> {
        self.0.iter().copied()
    }

    /// Whether the file needed none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
