//! Questions to an archive over HTTP, asked again where that may help, and no more of them once the archive is gone or shuts us out.
//!
//! Invariants: an answer is read whole before it counts, so that one that breaks off is asked for again; redirections are not followed; no
//! message shows a URL, which has UIDs, or a secret. What ended the connection ends it for all threads at once.

use std::io::Read;
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::blocking::{Client, Response};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;

use super::{ArchiveError, Credentials, DICOM_JSON};

/// Attempts for one answer, with pauses of 1, 2 and 4 seconds between them.
const ATTEMPTS: u32 = 4;
/// An archive that asks for a longer pause is asked again sooner.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_mins(5);

/// An archive as something that answers.
pub(super) struct Connection {
    client: Client,
    base: String,
    credentials: Credentials,
    /// What [`Credentials`] came to when they were last read.
    authorization: RwLock<Option<HeaderValue>>,
    /// A question that an archive which is there can answer.
    simplest: String,
    ended: OnceLock<ArchiveError>,
}

impl Connection {
    /// To the services at `base`; `simplest` is the place of the simplest question.
    ///
    /// # Errors
    /// [`ArchiveError::Setting`], which says what would be right.
    pub(super) fn new(
        base: String,
        credentials: Credentials,
        simplest: String,
    ) -> Result<Self, ArchiveError> {
        let client = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .user_agent(concat!("osteon-train/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ArchiveError::Setting(format!("no connections can be made: {error}")))?;
        Ok(Self {
            client,
            base,
            authorization: RwLock::new(credentials.header()?),
            credentials,
            simplest,
            ended: OnceLock::new(),
        })
    }

    /// Why it answers nothing any more, if that is so.
    pub(super) fn ended(&self) -> Option<&ArchiveError> {
        self.ended.get()
    }

    /// What `read` makes of the answer to a GET of `place`.
    ///
    /// # Errors
    /// [`ArchiveError`]: the last of all attempts.
    pub(super) fn get<T>(
        &self,
        place: &str,
        accept: &'static str,
        read: impl Fn(Response) -> Result<T, ArchiveError>,
    ) -> Result<T, ArchiveError> {
        let mut attempt = 1;
        loop {
            if let Some(error) = self.ended() {
                return Err(error.clone());
            }
            let (error, asked) = match self.once(place, accept, &read) {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if !error.passes() {
                return Err(error);
            }
            if attempt == ATTEMPTS {
                // is it this one, or the archive?
                if place != self.simplest
                    && let Err((error, _)) = self.once(&self.simplest, DICOM_JSON, |_| Ok(()))
                    && error.passes()
                {
                    return Err(self.end(error));
                }
                return Err(error);
            }
            let own = Duration::from_secs(1 << (attempt - 1));
            std::thread::sleep(asked.max(own).min(LONGEST_PAUSE));
            attempt += 1;
        }
    }

    /// One attempt; of a failure also how long the archive asks to wait.
    fn once<T>(
        &self,
        place: &str,
        accept: &'static str,
        read: impl Fn(Response) -> Result<T, ArchiveError>,
    ) -> Result<T, (ArchiveError, Duration)> {
        let at_once = |error| (error, Duration::ZERO);
        let mut authorization = self.authorization();
        loop {
            let mut request = self
                .client
                .get(format!("{}{place}", self.base))
                .header(ACCEPT, accept);
            if let Some(value) = &authorization {
                request = request.header(AUTHORIZATION, value);
            }
            let response = request.send().map_err(|error| at_once(broken(&error)))?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED {
                // a token that runs out in hours of reading is renewed in its file
                let renewed = self.renewed(authorization.as_ref());
                let refused = || at_once(self.end(ArchiveError::Refused(self.credentials.remedy())));
                authorization = Some(renewed.ok_or_else(refused)?);
                continue;
            }
            if status.is_success() {
                return read(response).map_err(at_once);
            }
            let asked = response.headers().get(RETRY_AFTER);
            let asked = asked.and_then(|value| pause(value.to_str().ok()?, SystemTime::now()));
            return Err((ArchiveError::Status(status), asked.unwrap_or_default()));
        }
    }

    fn authorization(&self) -> Option<HeaderValue> {
        // a value that was put there whole is good, whoever panicked since
        let known = self.authorization.read().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    /// Credentials other than those that were `refused`, if their file has some by now.
    fn renewed(&self, refused: Option<&HeaderValue>) -> Option<HeaderValue> {
        let new = self.credentials.header().ok().flatten()?;
        if Some(&new) == refused {
            return None;
        }
        let mut known = self.authorization.write().unwrap_or_else(PoisonError::into_inner);
        *known = Some(new.clone());
        Some(new)
    }

    /// Ends it; gives what ended it first.
    fn end(&self, error: ArchiveError) -> ArchiveError {
        self.ended.get_or_init(|| error).clone()
    }
}

/// Retry-After: seconds, or a date.
fn pause(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = SystemTime::from(chrono::DateTime::parse_from_rfc2822(value).ok()?);
    Some(until.duration_since(now).unwrap_or_default())
}

/// A whole body of at most `most` bytes.
pub(super) fn whole(response: Response, most: u64) -> Result<Vec<u8>, ArchiveError> {
    let mut body = Vec::new();
    let read = response.take(most + 1).read_to_end(&mut body);
    read.map_err(|error| broken(&error))?;
    if body.len() as u64 > most {
        return Err(ArchiveError::Answer("short enough"));
    }
    Ok(body)
}

/// What went wrong with a connection, without the URL.
pub(super) fn broken(error: &(dyn std::error::Error + 'static)) -> ArchiveError {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let words = match cause.downcast_ref::<reqwest::Error>() {
        Some(error) if error.is_timeout() => "it did not answer in time".to_owned(),
        Some(_) => "the connection broke".to_owned(),
        None => cause.to_string(),
    };
    ArchiveError::Unreachable(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_a_number_of_seconds_or_a_date() {
        // the date of RFC 9110 section 5.6.7, 784111777 seconds after 1970
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(pause("7", now), Some(Duration::from_secs(7)));
        assert_eq!(
            pause(date, now - Duration::from_secs(40)),
            Some(Duration::from_secs(40))
        );
        assert_eq!(pause(date, now + Duration::from_secs(9)), Some(Duration::ZERO));
        assert_eq!(pause("soon", now), None);
    }
}
