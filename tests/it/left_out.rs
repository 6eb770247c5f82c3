//! What could not be compared with others' programs on this machine is said on the terminal, and never passes in silence.

use std::io::Write;

/// `make test` sets it where it has fetched the packages: then none of them may be missing.
const FETCHED: &str = "OSTEON_PYTHON_TESTS_FETCHED";

/// Python, or a package of it, is missing: said, and a failure where the packages were fetched.
pub(crate) fn python(what: &str) {
    assert!(
        std::env::var_os(FETCHED).is_none(),
        "{what}, although its packages were fetched"
    );
    program(&format!(
        "{what} (PYTHONPATH=\"$(scripts/fetch-python-tests)\" has what is needed)"
    ));
}

/// A program that nothing here fetches is missing.
pub(crate) fn program(what: &str) {
    // not by a macro: those are only heard where a test fails
    let _ = writeln!(std::io::stderr(), "LEFT OUT: {what}");
}
