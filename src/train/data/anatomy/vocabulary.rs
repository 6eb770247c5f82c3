//! One kind of name of `terms.tsv`, found by code, by term, or among words.

use std::collections::HashMap;

const TABLE: &str = include_str!("terms.tsv");
/// The most words of a term.
const LONGEST: usize = 5;

/// The names of one kind.
pub(super) struct Vocabulary {
    codes: HashMap<&'static str, &'static str>,
    /// By their letters and digits, upper case.
    terms: HashMap<String, &'static str>,
    /// By their words with a space between them.
    words: HashMap<&'static str, &'static str>,
    /// Beginnings of words.
    stems: Vec<(&'static str, &'static str)>,
}

impl Vocabulary {
    /// The names of a kind: `part`, `view` or `side`.
    pub(super) fn of(kind: &str) -> Self {
        let mut vocabulary = Self {
            codes: HashMap::new(),
            terms: HashMap::new(),
            words: HashMap::new(),
            stems: Vec::new(),
        };
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let mut columns = line.split('\t');
            let (Some(own), Some(name), Some(place), Some(terms)) =
                (columns.next(), columns.next(), columns.next(), columns.next())
            else {
                continue;
            };
            if own != kind {
                continue;
            }
            vocabulary.terms.insert(key(name), name);
            for term in terms.split('|') {
                match (place, term.strip_suffix('*')) {
                    ("code", _) => drop(vocabulary.codes.insert(term, name)),
                    ("term", _) => drop(vocabulary.terms.insert(key(term), name)),
                    (_, Some(stem)) => vocabulary.stems.push((stem, name)),
                    (_, None) => drop(vocabulary.words.insert(term, name)),
                }
            }
        }
        vocabulary
    }

    pub(super) fn code(&self, code: &str) -> Option<&'static str> {
        self.codes.get(code).copied()
    }

    pub(super) fn terms_of(&self, name: &str) -> Vec<&str> {
        let own = self.terms.iter().filter(|(_, own)| **own == name);
        let mut terms: Vec<&str> = own.map(|(term, _)| term.as_str()).collect();
        terms.sort_unstable();
        terms
    }

    pub(super) fn codes_of(&self, name: &str) -> Vec<&str> {
        let own = self.codes.iter().filter(|(_, own)| **own == name);
        let mut codes: Vec<&str> = own.map(|(code, _)| *code).collect();
        codes.sort_unstable();
        codes
    }

    /// A value of an attribute: a term as a whole, or words.
    pub(super) fn term(&self, value: &str) -> Option<&'static str> {
        let term = self.terms.get(&key(value)).copied();
        term.or_else(|| self.words(value))
    }

    /// The term of the most words in a text; of several, the first.
    pub(super) fn words(&self, text: &str) -> Option<&'static str> {
        let words = words(text);
        let mut best: Option<(usize, &'static str)> = None;
        for start in 0..words.len() {
            for count in (1..=LONGEST.min(words.len() - start)).rev() {
                if best.is_some_and(|(most, _)| count <= most) {
                    break;
                }
                if let Some(name) = self.phrase(&words[start..start + count]) {
                    best = Some((count, name));
                    break;
                }
            }
        }
        best.map(|(_, name)| name)
    }

    fn phrase(&self, words: &[String]) -> Option<&'static str> {
        if let Some(name) = self.words.get(words.join(" ").as_str()) {
            return Some(name);
        }
        let [word] = words else { return None };
        let stem = self.stems.iter().filter(|(stem, _)| word.starts_with(stem));
        // `handgelenk` is more than `hand`
        stem.max_by_key(|(stem, _)| stem.len()).map(|(_, name)| *name)
    }
}

/// Letters and digits without accents, upper case.
fn key(text: &str) -> String {
    words(text).concat().to_uppercase()
}

/// The words of a text in lower case without accents; where letters and digits meet, a word ends.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut last = None;
    for character in text.chars().flat_map(char::to_lowercase) {
        let kind = (character.is_alphabetic(), character.is_numeric());
        if kind == (false, false) {
            last = None;
            continue;
        }
        if last != Some(kind) {
            words.push(String::new());
        }
        last = Some(kind);
        if let Some(word) = words.last_mut() {
            match plain(character) {
                "" => word.push(character),
                letters => word.push_str(letters),
            }
        }
    }
    words
}

/// A letter of Latin-1 and its neighbours without its accent; nothing for all others.
fn plain(letter: char) -> &'static str {
    match letter {
        'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' => "a",
        'è' | 'é' | 'ê' | 'ë' => "e",
        'ì' | 'í' | 'î' | 'ï' => "i",
        'ò' | 'ó' | 'ô' | 'õ' | 'ö' => "o",
        'ù' | 'ú' | 'û' | 'ü' => "u",
        'ç' => "c",
        'ñ' => "n",
        'ß' => "ss",
        'œ' => "oe",
        'æ' => "ae",
        _ => "",
    }
}
