//! One batch size on a GPU: a session that only ever sees this shape.
//!
//! One session for all sizes would do the same and be far slower: cuDNN plans every convolution anew whenever the shape
//! differs from that of the run before (`docs/decisions/0008-one-session-for-each-batch-size.md`).

use ort::session::Session;

/// A batch size and what runs it.
pub(super) struct Bucket {
    /// How many images it holds.
    pub(super) size: usize,
    /// Runs batches of exactly this size.
    pub(super) session: Session,
}
