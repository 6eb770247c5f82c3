//! Named places where a fault test may stop, fail or kill the server; without the feature `failpoints` they are nothing.
//!
//! `FAILPOINTS="accept.after-object=1%return(kill);settle.before-commit=3*return(error)"` has the syntax of the `fail` crate; what
//! `return(...)` may hold is an [`Act`].

#[cfg(feature = "failpoints")]
pub(crate) use armed::{is_off, poison, reach, start};

/// Reads `FAILPOINTS`; without the feature, nothing.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn start() {}

/// A place with a name.
///
/// # Errors
/// Only in a fault test that asks for one.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) fn reach(_place: &'static str) -> std::future::Ready<std::io::Result<()>> {
    std::future::ready(Ok(()))
}

/// Whether a fault test has switched a protection off, to see the damage that it prevents: never, without the feature.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) fn is_off(_protection: &'static str) -> bool {
    false
}

/// Whether a study is one that a fault test has poisoned: never, without the feature.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) fn poison(_study: &str) -> std::future::Ready<()> {
    std::future::ready(())
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::time::Duration;

    /// What happens at a place.
    enum Act {
        /// The process is gone, as by SIGKILL: `kill`.
        Kill,
        /// The process aborts: `abort`.
        Abort,
        /// The place fails: `error`.
        Error,
        /// It never goes on: `hang`.
        Hang,
        /// It goes on after this many milliseconds: `slow:250`.
        Slow(u64),
        /// More memory is asked for than there is: `memory`.
        Memory,
    }

    impl Act {
        fn parse(text: &str) -> Self {
            match text {
                "kill" => Self::Kill,
                "abort" => Self::Abort,
                "error" => Self::Error,
                "hang" => Self::Hang,
                "memory" => Self::Memory,
                other => other
                    .strip_prefix("slow:")
                    .and_then(|millis| millis.parse().ok())
                    .map_or_else(|| panic!("FAILPOINTS: nothing is called {other}"), Self::Slow),
            }
        }

        async fn play(self) -> std::io::Result<()> {
            match self {
                Self::Kill => {
                    // SIGKILL cannot be caught, so nothing is cleaned up on the way, as when a machine is lost
                    let _ = rustix::process::kill_process(
                        rustix::process::getpid(),
                        rustix::process::Signal::KILL,
                    );
                    std::future::pending().await
                }
                Self::Abort => std::process::abort(),
                Self::Error => Err(std::io::Error::other("a fault test asked for this")),
                Self::Hang => std::future::pending().await,
                Self::Slow(millis) => {
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    Ok(())
                }
                Self::Memory => {
                    std::hint::black_box(vec![1_u8; usize::MAX >> 2]);
                    Ok(())
                }
            }
        }
    }

    /// Reads `FAILPOINTS`, for as long as the process lives.
    pub(crate) fn start() {
        std::mem::forget(fail::FailScenario::setup());
    }

    /// A place with a name.
    ///
    /// # Errors
    /// Where a fault test asked for one.
    pub(crate) async fn reach(place: &'static str) -> std::io::Result<()> {
        match asked(place) {
            Some(act) => Act::parse(&act).play().await,
            None => Ok(()),
        }
    }

    fn asked(place: &'static str) -> Option<String> {
        fail::fail_point!(place, |act| act);
        None
    }

    /// Whether a fault test has switched a protection off, to see the damage that it prevents.
    pub(crate) fn is_off(protection: &'static str) -> bool {
        asked(protection).is_some()
    }

    /// A study whose UID ends with `.666.N` is poison: its analysis aborts the process (1), hangs (2), asks for more memory than
    /// there is (3) or panics (4).
    pub(crate) async fn poison(study: &str) {
        let act = match study.rsplit_once(".666.") {
            Some((_, "1")) => Act::Abort,
            Some((_, "2")) => Act::Hang,
            Some((_, "3")) => Act::Memory,
            Some((_, "4")) => panic!("a fault test asked for this"),
            _ => return,
        };
        let _ = act.play().await;
    }
}
