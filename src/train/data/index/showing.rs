//! Which images of a table people may be shown: where something is written in the pixels, a patient's name could stand there.

use std::path::Path;

use super::facts::BurnedIn;
use super::labelled::LabelledRow;
use super::reading::is_picture;
use crate::dicom::Instance;
use crate::image::decode::{decode, decode_picture};

/// Whether an image may be put on a sheet that people look at. The table says so where it has `burned_in`, as that of an index; otherwise
/// header and pixels of the file are looked at. What cannot be looked at is not shown.
#[must_use]
pub fn may_be_shown(row: &LabelledRow) -> bool {
    let known = row.burned_in.or_else(|| look(&row.file));
    known.is_some_and(|burned_in| !burned_in.is_suspected())
}

fn look(file: &Path) -> Option<BurnedIn> {
    let bytes = std::fs::read(file).ok()?;
    if is_picture(&bytes) {
        return Some(BurnedIn::default().looked_at(&decode_picture(&bytes).ok()?));
    }
    let instance = Instance::parse(bytes.into()).ok()?;
    Some(BurnedIn::of_header(&instance).looked_at(&decode(&instance).ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::rows;
    use super::*;

    #[test]
    fn the_table_decides_and_where_it_says_nothing_the_file_does() {
        let folder = tempfile::tempdir().unwrap();
        let (rows_of, columns) = (320, 160);
        let plain: Vec<u8> = (0..rows_of * columns)
            .map(|pixel| (40 + pixel / columns / 4) as u8)
            .collect();
        let mut written = crate::image::heatmap::Picture {
            rows: rows_of,
            columns,
            values: plain.iter().flat_map(|grey| [*grey; 3]).collect(),
        };
        crate::image::lettering::write(&mut written, "DOE JANE", [20, 10], 2);
        let save = |name: &str, values: &[u8]| {
            let (width, height) = (columns as u32, rows_of as u32);
            let kind = ::image::ExtendedColorType::L8;
            ::image::save_buffer(folder.path().join(name), values, width, height, kind).unwrap();
        };
        save("plain.png", &plain);
        let grey: Vec<u8> = written.values.chunks(3).map(|pixel| pixel[0]).collect();
        save("written.png", &grey);
        let shown = |table: &str| -> Vec<bool> {
            let csv = folder.path().join("labels.csv");
            std::fs::write(&csv, table).unwrap();
            let rows = rows(&csv, &[], &[]).unwrap();
            rows.iter().map(may_be_shown).collect()
        };
        assert_eq!(
            shown("file,patient\nplain.png,a\nwritten.png,b\ngone.png,c\n"),
            [true, false, false]
        );
        // of a table that says it, no file is needed
        let said = "file,patient,burned_in\na,a,no\nb,b,unknown\nc,c,seen\nd,d,likely\ne,e,stated\nf,f,yes\nplain.png,g,\n";
        assert_eq!(shown(said), [true, true, false, false, false, false, true]);
    }
}
