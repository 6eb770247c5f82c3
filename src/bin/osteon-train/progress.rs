//! Progress bars with rate and remaining time, on standard error; silent where nobody looks.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over `count` images.
pub(crate) fn bar(what: &'static str, count: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:>12} {wide_bar} {pos}/{len}  {per_sec}  {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(count).with_style(style).with_message(what)
}
