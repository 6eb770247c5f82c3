//! Text in the character sets of DICOM, also in those that change within a value (ISO 2022; PS3.5 section 6.1.2, PS3.3 section C.12.1.1.2).
//!
//! Nothing here fails: what no character set has becomes U+FFFD.

use encoding_rs::Encoding;

const ESCAPE: u8 = 0x1B;

/// The character sets of a data set: the values of Specific Character Set (0008,0005).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CharacterSets {
    first: Set,
    /// More than the parser understands: it looks at the first value alone, knows no escape sequence, and takes the second byte of a
    /// Chinese character for a backslash.
    beyond_the_parser: bool,
}

/// What a byte means from 0x80 on, or all bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    /// ISO 8859-1; the default repertoire, too, whose upper half is empty.
    Latin1,
    /// Half-width katakana (JIS X 0201).
    Katakana,
    /// One byte is one character.
    Single(&'static Encoding),
    /// Two bytes are one character.
    Pairs(&'static Encoding),
    /// A code of its own for all of the text, without escape sequences.
    Whole(&'static Encoding),
}

/// What a byte below 0x80 means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lower {
    Ascii,
    /// Two bytes are one character of JIS X 0208.
    Kanji,
    /// Two bytes are one character of JIS X 0212.
    SupplementaryKanji,
}

impl Default for CharacterSets {
    fn default() -> Self {
        Self {
            first: Set::Latin1,
            beyond_the_parser: false,
        }
    }
}

impl CharacterSets {
    /// Those that the value of Specific Character Set names. An unknown one is read as ISO 8859-1.
    pub(super) fn of(value: &[u8]) -> Self {
        let mut names = value.split(|byte| *byte == b'\\').map(<[u8]>::trim_ascii);
        let first = names.next().unwrap_or_default();
        let (first, known) = match first {
            b"ISO_IR 192" => (Set::Whole(encoding_rs::UTF_8), true),
            b"GB18030" => (Set::Whole(encoding_rs::GB18030), false),
            b"GBK" => (Set::Whole(encoding_rs::GBK), false),
            named => {
                let number = named.strip_prefix(b"ISO_IR ".as_slice());
                let number = number.or_else(|| named.strip_prefix(b"ISO 2022 IR ".as_slice()));
                match number.unwrap_or_default() {
                    b"101" => (Set::Single(encoding_rs::ISO_8859_2), true),
                    b"109" => (Set::Single(encoding_rs::ISO_8859_3), true),
                    b"110" => (Set::Single(encoding_rs::ISO_8859_4), true),
                    b"126" => (Set::Single(encoding_rs::ISO_8859_7), true),
                    b"127" => (Set::Single(encoding_rs::ISO_8859_6), true),
                    b"138" => (Set::Single(encoding_rs::ISO_8859_8), true),
                    b"144" => (Set::Single(encoding_rs::ISO_8859_5), true),
                    b"148" => (Set::Single(encoding_rs::WINDOWS_1254), false),
                    b"166" => (Set::Single(encoding_rs::WINDOWS_874), true),
                    b"203" => (Set::Single(encoding_rs::ISO_8859_15), false),
                    b"13" => (Set::Katakana, true),
                    b"58" => (Set::Pairs(encoding_rs::GBK), false),
                    b"149" => (Set::Pairs(encoding_rs::EUC_KR), false),
                    b"87" | b"159" => (Set::Latin1, false),
                    // also what is unknown: the parser would write its name into the log
                    _ => (Set::Latin1, matches!(named, b"" | b"ISO_IR 6" | b"ISO_IR 100")),
                }
            }
        };
        Self {
            first,
            beyond_the_parser: !known || names.any(|name| !name.is_empty()),
        }
    }

    /// Whether the parser would misread a text in them.
    pub(super) fn is_beyond_the_parser(self) -> bool {
        self.beyond_the_parser
    }

    /// A value as Unicode; `is_name`, where it is one of VR PN, whose components each begin in the first character set.
    pub(super) fn decode(self, text: &[u8], is_name: bool) -> String {
        if let Set::Whole(encoding) = self.first {
            return encoding.decode_without_bom_handling(text).0.into_owned();
        }
        let mut decoded = String::with_capacity(text.len());
        let (mut lower, mut upper) = (Lower::Ascii, self.first);
        let mut rest = text;
        while let Some((&byte, behind)) = rest.split_first() {
            if byte == ESCAPE {
                let length = designate(behind, &mut lower, &mut upper);
                rest = behind.get(length..).unwrap_or_default();
                continue;
            }
            if lower != Lower::Ascii && (0x21..=0x7E).contains(&byte) {
                let (pair, after) = behind.split_at(behind.len().min(1));
                decoded.push_str(&kanji(lower, byte, pair.first().copied().unwrap_or_default()));
                rest = after;
                continue;
            }
            rest = behind;
            match (byte, upper) {
                (..0x80, _) => {
                    let divides = matches!(byte, b'\t' | b'\n' | 0x0C | b'\r' | b'\\')
                        || (is_name && matches!(byte, b'^' | b'='));
                    if divides {
                        (lower, upper) = (Lower::Ascii, self.first);
                    }
                    decoded.push(char::from(byte));
                }
                (0xA1..=0xDF, Set::Katakana) => {
                    decoded.extend(char::from_u32(0xFF61 + u32::from(byte - 0xA1)));
                }
                (_, Set::Katakana) => decoded.push(char::REPLACEMENT_CHARACTER),
                (_, Set::Pairs(encoding)) => {
                    let (pair, after) = behind.split_at(behind.len().min(1));
                    let pair = [&[byte], pair].concat();
                    decoded.push_str(&encoding.decode_without_bom_handling(&pair).0);
                    rest = after;
                }
                (_, Set::Single(encoding) | Set::Whole(encoding)) => {
                    decoded.push_str(&encoding.decode_without_bom_handling(&[byte]).0);
                }
                (_, Set::Latin1) => decoded.push(char::from(byte)),
            }
        }
        decoded
    }
}

/// One character of two bytes below 0x80, by its place in EUC-JP.
fn kanji(lower: Lower, first: u8, second: u8) -> String {
    let mut code = [0x8F, first | 0x80, second | 0x80];
    let code = if lower == Lower::Kanji {
        &code[1..]
    } else {
        &mut code[..]
    };
    encoding_rs::EUC_JP
        .decode_without_bom_handling(code)
        .0
        .into_owned()
}

/// Follows the escape sequence whose rest begins `behind` (PS3.3 tables C.12-3 and C.12-4), and gives the length of that rest.
fn designate(behind: &[u8], lower: &mut Lower, upper: &mut Set) -> usize {
    let single = |encoding| Set::Single(encoding);
    match behind {
        [b'(', b'B' | b'J', ..] => *lower = Lower::Ascii,
        [b'$', b'B' | b'@', ..] => *lower = Lower::Kanji,
        [b'$', b'(', b'D', ..] => {
            *lower = Lower::SupplementaryKanji;
            return 3;
        }
        [b'$', b')', b'C', ..] => {
            *upper = Set::Pairs(encoding_rs::EUC_KR);
            return 3;
        }
        [b'$', b')', b'A', ..] => {
            *upper = Set::Pairs(encoding_rs::GBK);
            return 3;
        }
        [b')', b'I', ..] => *upper = Set::Katakana,
        [b'-', b'A', ..] => *upper = Set::Latin1,
        [b'-', b'B', ..] => *upper = single(encoding_rs::ISO_8859_2),
        [b'-', b'C', ..] => *upper = single(encoding_rs::ISO_8859_3),
        [b'-', b'D', ..] => *upper = single(encoding_rs::ISO_8859_4),
        [b'-', b'F', ..] => *upper = single(encoding_rs::ISO_8859_7),
        [b'-', b'G', ..] => *upper = single(encoding_rs::ISO_8859_6),
        [b'-', b'H', ..] => *upper = single(encoding_rs::ISO_8859_8),
        [b'-', b'L', ..] => *upper = single(encoding_rs::ISO_8859_5),
        [b'-', b'M', ..] => *upper = single(encoding_rs::WINDOWS_1254),
        [b'-', b'T', ..] => *upper = single(encoding_rs::WINDOWS_874),
        [b'-', b'b', ..] => *upper = single(encoding_rs::ISO_8859_15),
        // of no character set of DICOM: nothing is known of its length
        _ => return 0,
    }
    2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(sets: &str, bytes: &[u8]) -> String {
        CharacterSets::of(sets.as_bytes()).decode(bytes, true)
    }

    /// The examples of PS3.5 annexes H (Japanese), I (Korean) and J and K (Chinese).
    #[test]
    fn names_are_what_the_standard_says() {
        assert_eq!(
            name(
                "\\ISO 2022 IR 87",
                b"Yamada^Tarou=\x1B$B;3ED\x1B(B^\x1B$BB@O:\x1B(B=\x1B$B$d$^$@\x1B(B^\x1B$B$?$m$&\x1B(B"
            ),
            "Yamada^Tarou=山田^太郎=やまだ^たろう"
        );
        assert_eq!(
            name(
                "ISO 2022 IR 13\\ISO 2022 IR 87",
                b"\xD4\xCF\xC0\xDE^\xC0\xDB\xB3=\x1B$B;3ED\x1B(J^\x1B$BB@O:\x1B(J=\x1B$B$d$^$@\x1B(J^\x1B$B$?$m$&\x1B(J"
            ),
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"
        );
        assert_eq!(
            name(
                "\\ISO 2022 IR 149",
                b"Hong^Gildong=\x1B$)C\xFB\xF3^\x1B$)C\xD1\xCE\xD4\xD7=\x1B$)C\xC8\xAB^\x1B$)C\xB1\xE6\xB5\xBF"
            ),
            "Hong^Gildong=洪^吉洞=홍^길동"
        );
        assert_eq!(
            name("GB18030", b"Wang^XiaoDong=\xCD\xF5^\xD0\xA1\xB6\xAB="),
            "Wang^XiaoDong=王^小东="
        );
        assert_eq!(
            name(
                "\\ISO 2022 IR 58",
                b"Zhang^XiaoDong=\x1B$)A\xD5\xC5^\x1B$)A\xD0\xA1\xB6\xAB="
            ),
            "Zhang^XiaoDong=张^小东="
        );
    }

    #[test]
    fn a_component_begins_in_the_first_set_and_a_second_byte_divides_nothing() {
        // the second component names no set: its bytes are those of the first
        let greek = "ISO 2022 IR 126\\ISO 2022 IR 144";
        assert_eq!(name(greek, b"\x1B-L\xBB^\xCB"), "Л^Λ");
        // a backslash is the second byte of this character in GB18030, and of this kanji in ISO 2022
        assert!(!name("GB18030", b"\x95\x5C").contains('\\'));
        assert!(!name("\\ISO 2022 IR 87", b"\x1B$B\x30\x5C\x1B(B").contains('\\'));
    }

    #[test]
    fn what_the_parser_can_read_is_left_to_it() {
        for (sets, beyond) in [
            ("", false),
            ("ISO_IR 100", false),
            ("ISO_IR 192 ", false),
            ("ISO_IR 100\\", false),
            ("\\ISO 2022 IR 87", true),
            ("ISO 2022 IR 149", true),
            ("GB18030 ", true),
            ("GBK", true),
            ("anything", true),
        ] {
            let sets_of = CharacterSets::of(sets.as_bytes());
            assert_eq!(sets_of.is_beyond_the_parser(), beyond, "{sets}");
        }
    }

    #[test]
    fn no_bytes_are_too_odd() {
        for sets in [
            "\\ISO 2022 IR 87",
            "ISO 2022 IR 149",
            "GB18030",
            "ISO_IR 13",
            "\\ISO 2022 IR 159",
        ] {
            for first in 0..=255_u8 {
                for second in [0, 0x1B, b'$', b'(', 0x5C, 0x80, 0xFF] {
                    let bytes = [0x1B, b'$', first, second, 0x1B, b'$', b'B', second, first];
                    for end in 0..=bytes.len() {
                        name(sets, &bytes[..end]);
                    }
                }
            }
        }
    }
}
