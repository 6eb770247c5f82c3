//! Codes that say what a value of Body Part Examined or View Position says: SNOMED CT, and the SNOMED RT identifiers before it
//! (PS3.16 CID 4031 and CID 4010). A header may say a thing as text, as code, or as both.

/// Body Part Examined (0018,0015) and Anatomic Region Sequence (0008,2218).
const BODY_PARTS: [(&str, &[&str]); 44] = [
    ("CSPINE", &["122494005", "T-11501"]),
    ("CTSPINE", &["1217257000"]),
    ("TSPINE", &["122495006", "T-11502"]),
    ("TLSPINE", &["1217256009"]),
    ("LSPINE", &["122496007", "T-11503", "1217253001"]),
    ("LSSPINE", &["122496007", "T-11503", "1217253001"]),
    ("SSPINE", &["54735007", "T-11AD0"]),
    ("SACRUM", &["54735007", "T-11AD0"]),
    ("COCCYX", &["64688005", "T-11BF0"]),
    ("SPINE", &["421060004", "T-D04FF"]),
    ("PELVIS", &["816092008", "12921003", "T-D6000"]),
    ("HIP", &["24136001", "T-15710", "29836001", "T-D2500"]),
    ("FEMUR", &["71341001", "T-12710"]),
    ("THIGH", &["68367000", "T-D9100"]),
    ("KNEE", &["72696002", "T-D9200"]),
    ("PATELLA", &["64234005", "T-12730"]),
    ("LEG", &["30021000", "T-D9400"]),
    ("ANKLE", &["70258002", "T-15750"]),
    ("CALCANEUS", &["80144004", "T-12770"]),
    ("FOOT", &["56459004", "T-D9700"]),
    ("TOE", &["29707007", "T-D9800"]),
    ("SHOULDER", &["16982005", "T-D2220"]),
    ("CLAVICLE", &["51299004", "T-12310"]),
    ("SCAPULA", &["79601000", "T-12280"]),
    ("HUMERUS", &["85050009", "T-12410"]),
    ("ELBOW", &["16953009", "T-15430", "127949000", "T-D8300"]),
    ("FOREARM", &["14975008", "T-D8500"]),
    ("WRIST", &["74670003", "T-15460", "8205005", "T-D8600"]),
    ("HAND", &["85562004", "T-D8700"]),
    ("FINGER", &["7569003", "T-D8800"]),
    ("THUMB", &["76505004", "T-D8810"]),
    ("CHEST", &["816094009", "51185008", "T-D3000"]),
    ("THORAX", &["816094009", "51185008", "T-D3000"]),
    ("LUNG", &["39607008", "T-28000"]),
    ("RIB", &["113197003", "T-11300"]),
    ("STERNUM", &["56873002", "T-11210"]),
    ("SKULL", &["89546000", "T-11100"]),
    ("HEAD", &["69536005", "T-D1100"]),
    ("JAW", &["661005", "T-D1213"]),
    ("MANDIBLE", &["91609006", "T-11180"]),
    ("MAXILLA", &["70925003", "T-11170"]),
    ("NECK", &["45048000", "T-D1600"]),
    ("ABDOMEN", &["818981001", "113345001", "T-D4000"]),
    ("BREAST", &["76752008", "T-04000"]),
];

/// View Position (0018,5101) and View Code Sequence (0054,0220). A left lateral is no right one; where a value names no side, either is
/// meant.
const VIEWS: [(&str, &[&str]); 6] = [
    ("AP", &["399348003", "R-10206"]),
    ("PA", &["272479007", "R-10214"]),
    ("LL", &["399067008", "399173006"]),
    ("RL", &["399067008", "399198007"]),
    ("LAT", LATERAL),
    ("LATERAL", LATERAL),
];
const LATERAL: &[&str] = &[
    "399067008",
    "399173006",
    "399198007",
    "R-10232",
    "R-10234",
    "R-10236",
];

fn of(table: &[(&str, &'static [&'static str])], value: &str) -> &'static [&'static str] {
    let known = table.iter().find(|(term, _)| *term == value);
    known.map_or(&[], |(_, codes)| codes)
}

/// The codes of a value of Body Part Examined; none where the table does not know it.
#[must_use]
pub fn of_body_part(value: &str) -> &'static [&'static str] {
    of(&BODY_PARTS, value)
}

/// The codes of a value of View Position; none where the table does not know it.
#[must_use]
pub fn of_view(value: &str) -> &'static [&'static str] {
    of(&VIEWS, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Training has a table of its own, of all that devices write: what stands here stands there.
    #[test]
    fn training_reads_the_same_from_these_codes() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/train/data/anatomy/terms.tsv");
        let text = std::fs::read_to_string(file).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
        let names = |kind: &str, column: &str, word: &str| -> Vec<&str> {
            let of_kind = |line: &&Vec<&str>| line.len() == 4 && line[0] == kind && line[2] == column;
            let has = |line: &&Vec<&str>| line[3].split('|').any(|known| known == word);
            lines
                .iter()
                .filter(of_kind)
                .filter(has)
                .map(|line| line[1])
                .collect()
        };
        let parts = BODY_PARTS.iter().map(|row| ("part", row));
        for (kind, (term, codes)) in parts.chain(VIEWS.iter().map(|row| ("view", row))) {
            let name = names(kind, "term", term);
            assert_eq!(name.len(), 1, "{term}");
            for code in *codes {
                assert_eq!(names(kind, "code", code), name, "{term} {code}");
            }
        }
    }
}
