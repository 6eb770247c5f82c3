//! A question that long work asks now and then: whether somebody still waits for what it makes.
//!
//! Nothing here knows of clocks or callers: whoever starts the work hands the question in.

/// The question. Work that is given [`Cancel::NEVER`] goes on to its end.
#[derive(Clone, Copy)]
pub struct Cancel<'a>(Option<&'a dyn Fn() -> bool>);

/// Nobody waits any more: the work was not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

impl<'a> Cancel<'a> {
    /// Never.
    pub const NEVER: Self = Self(None);

    /// As soon as `is_over` says so; it is asked for every few thousand pixels, from the thread that does the work.
    #[must_use]
    pub fn when(is_over: &'a dyn Fn() -> bool) -> Self {
        Self(Some(is_over))
    }

    /// Goes on, or not.
    ///
    /// # Errors
    /// [`Cancelled`] where nobody waits any more.
    pub fn check(self) -> Result<(), Cancelled> {
        match self.0 {
            Some(is_over) if is_over() => Err(Cancelled),
            _ => Ok(()),
        }
    }
}
