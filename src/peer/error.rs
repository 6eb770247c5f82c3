//! Why a peer did not do what it was asked, and whether to ask again.

use std::fmt;
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// No peer may put us off for longer than this by what it answers.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// Why a parcel was not delivered, or a study not fetched. It never holds an address, what the peer said, or patient data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerError {
    /// A stable, documented identifier: `unreachable`, `timeout`, `unavailable`, `unauthorised`, `rejected`, `not-verified`,
    /// `not-found`, `too-large`, `bad-answer` or `no-credentials`.
    pub code: &'static str,
    /// Lower case, no final period.
    pub message: String,
    /// Whether the same may succeed later, with nothing changed but time.
    pub retry: bool,
    /// How long the peer asked to be left alone (RFC 9110 section 10.2.3), at most a day.
    pub retry_after: Option<Duration>,
}

impl PeerError {
    /// One that may pass.
    pub(super) fn passing(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry: true,
            retry_after: None,
        }
    }

    /// One that stays until somebody changes something.
    pub(super) fn lasting(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            retry: false,
            ..Self::passing(code, message)
        }
    }

    pub(super) fn timeout() -> Self {
        Self::passing("timeout", "the peer did not answer in time")
    }

    pub(super) fn not_verified() -> Self {
        let message = "the archive took the object and does not list it afterwards";
        Self::passing("not-verified", message)
    }

    /// A status that is no success. Credentials do not mend themselves, and trying wrong ones again may lock an account.
    pub(super) fn status(status: StatusCode) -> Self {
        let number = status.as_u16();
        match number {
            401 | 403 => Self::lasting(
                "unauthorised",
                format!(
                    "the peer does not take these credentials (status {number}): check them and what they allow"
                ),
            ),
            408 | 425 | 429 | 500..=599 => Self::passing(
                "unavailable",
                format!("the peer cannot do it now (status {number})"),
            ),
            400..=499 => Self::lasting("rejected", format!("the peer does not do it (status {number})")),
            300..=399 => Self::passing(
                "bad-answer",
                format!("the peer answered with a redirect (status {number}), which is not followed"),
            ),
            _ => Self::passing("bad-answer", format!("the peer answered with status {number}")),
        }
    }

    /// The same with what the answer's headers ask for.
    pub(super) fn after(mut self, headers: &HeaderMap) -> Self {
        let value = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        self.retry_after = value
            .filter(|_| self.retry)
            .and_then(|value| wait(value, SystemTime::now()));
        self
    }
}

impl From<&reqwest::Error> for PeerError {
    fn from(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::timeout()
        } else if error.is_connect() {
            Self::passing("unreachable", "no connection to the peer")
        } else if error.is_decode() || error.is_body() {
            Self::passing("bad-answer", "the peer's answer could not be read")
        } else {
            Self::passing(
                "unreachable",
                "the connection to the peer broke before it answered",
            )
        }
    }
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for PeerError {}

/// Retry-After: seconds, or a date.
fn wait(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = if let Ok(seconds) = value.parse() {
        Duration::from_secs(seconds)
    } else {
        let until = SystemTime::from(chrono::DateTime::parse_from_rfc2822(value).ok()?);
        until.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_seconds_and_dates_up_to_a_day() {
        // the date of RFC 9110 section 5.6.7, 784111777 seconds after 1970
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let at = |before: u64| wait(date, now - Duration::from_secs(before));
        assert_eq!(at(90), Some(Duration::from_secs(90)));
        assert_eq!(wait(date, now + Duration::from_secs(9)), Some(Duration::ZERO));
        assert_eq!(at(1_000_000), Some(LONGEST_WAIT));
        assert_eq!(wait(" 100", now), Some(Duration::from_secs(100)));
        assert_eq!(wait("99999999", now), Some(LONGEST_WAIT));
        assert_eq!(wait("soon", now), None);
    }

    #[test]
    fn each_status_is_said_plainly() {
        for (status, code, retry) in [
            (400, "rejected", false),
            (401, "unauthorised", false),
            (403, "unauthorised", false),
            (404, "rejected", false),
            (408, "unavailable", true),
            (425, "unavailable", true),
            (429, "unavailable", true),
            (500, "unavailable", true),
            (503, "unavailable", true),
            (307, "bad-answer", true),
        ] {
            let error = PeerError::status(StatusCode::from_u16(status).unwrap());
            assert_eq!((error.code, error.retry), (code, retry), "{status}");
            assert!(error.message.contains(&status.to_string()), "{error}");
        }
    }
}
