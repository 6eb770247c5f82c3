//! The corpus of the fuzz targets, run once through each: what was found stays found.

use std::io::Write;
use std::path::Path;

use crate::panics;

#[expect(unreachable_pub, reason = "it is the library of the fuzz targets")]
#[path = "../../fuzz/src/lib.rs"]
mod targets;

#[test]
fn the_corpus_passes_every_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    type Target = fn(&[u8]);
    panics::count();
    let targets: [(&str, Target); 7] = [
        ("parse", targets::parse),
        ("codec", targets::codec),
        ("multipart", targets::multipart),
        ("preprocess", targets::preprocess),
        ("flat", targets::flat),
        ("xml", targets::native_model),
        ("picture", targets::picture),
    ];
    for (name, target) in targets {
        let mut count = 0;
        for entry in std::fs::read_dir(corpus.join(name)).unwrap() {
            target(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        writeln!(std::io::stderr(), "  fuzz corpus: {name:<12} {count} inputs").unwrap();
        assert!(count >= 20, "{name} has only {count} inputs");
        assert_eq!(panics::seen(), 0, "panics in {name}");
    }
}
