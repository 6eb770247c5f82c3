//! What each client has of something that all share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// From so many clients on, those that have nothing are forgotten.
pub(super) const MANY_CLIENTS: usize = 256;

/// A `T` for each client, for as long as somebody holds it; clones share them.
pub(crate) struct Shares<T>(Arc<Mutex<HashMap<String, Weak<T>>>>);

impl<T> Shares<T> {
    /// That of a client; `new` makes it where it has none.
    pub(crate) fn of(&self, client: &str, new: impl FnOnce() -> T) -> Arc<T> {
        let mut shares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shares.len() > MANY_CLIENTS {
            shares.retain(|_, share| share.strong_count() > 0);
        }
        let known = shares.get(client).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let own = Arc::new(new());
            shares.insert(client.to_owned(), Arc::downgrade(&own));
            own
        })
    }

    /// How many clients are known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl<T> Default for Shares<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Shares<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The most of so much that one client has: three quarters, rounded up.
pub(crate) fn share(all: usize) -> usize {
    (all * 3).div_ceil(4)
}
