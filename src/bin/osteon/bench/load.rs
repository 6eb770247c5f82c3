//! Closed-loop load: so many callers, each of which sends its next image when it has the answer to its last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::StatusCode;
use osteon::finding::Timings;
use serde::Deserialize;
use tokio::task::JoinSet;

use super::client::{self, Connection, Target};

/// How long a caller waits after an answer that is no score: in a closed loop it would ask the server for nothing but more of them.
const PAUSE: Duration = Duration::from_millis(100);

/// What is sent to whom; shared by all callers.
pub(super) struct Load {
    pub(super) target: Arc<Target>,
    /// Of the score, with its query.
    pub(super) path: String,
    pub(super) files: Vec<Bytes>,
    /// Scores so far, for whoever watches.
    pub(super) scored: AtomicU64,
    /// Which file is next.
    next: AtomicUsize,
}

/// What came of a level: times and counts of all callers together.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Milliseconds from the first byte sent to the last one received, one for each score.
    pub(super) latencies: Vec<f64>,
    /// Sums over the scores, in milliseconds.
    pub(super) stages: Stages,
    /// What came instead of scores.
    pub(super) unscored: BTreeMap<Kind, Unscored>,
    /// From the first request to the last answer. What is under way when the time is over is waited for and counts.
    pub(super) seconds: f64,
}

/// What came instead of a score.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub(super) struct Kind {
    /// Of the answer, where there was one.
    pub(super) status: Option<u16>,
    /// Of the server's reason, where it gave one.
    pub(super) code: Option<String>,
}

/// How often it came.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Unscored {
    pub(super) count: u64,
    /// What the first said.
    pub(super) message: String,
}

impl Kind {
    /// Whether the server was there and had no place: the caller is to come back.
    pub(super) fn is_refusal(&self) -> bool {
        [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE]
            .into_iter()
            .any(|status| self.status == Some(status.as_u16()))
    }
}

/// Milliseconds in each stage, as the server tells them.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub(super) struct Stages {
    pub(super) parse: f64,
    pub(super) decode: f64,
    pub(super) preprocess: f64,
    pub(super) queue: f64,
    pub(super) infer: f64,
}

impl Stages {
    /// In the order of an image's way.
    pub(super) fn each(&self) -> [f64; 5] {
        [self.parse, self.decode, self.preprocess, self.queue, self.infer]
    }

    /// Every stage by itself through `combine`.
    pub(super) fn with(self, other: Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            parse: combine(self.parse, other.parse),
            decode: combine(self.decode, other.decode),
            preprocess: combine(self.preprocess, other.preprocess),
            queue: combine(self.queue, other.queue),
            infer: combine(self.infer, other.infer),
        }
    }
}

impl From<Timings> for Stages {
    fn from(timings: Timings) -> Self {
        Self {
            parse: timings.parse,
            decode: timings.decode,
            preprocess: timings.preprocess,
            queue: timings.queue,
            infer: timings.infer,
        }
    }
}

/// The part of an answer that is measured.
#[derive(Deserialize)]
struct Answer {
    timings_ms: Timings,
}

impl Load {
    pub(super) fn new(target: Arc<Target>, path: String, files: Vec<Bytes>) -> Self {
        Self {
            target,
            path,
            files,
            scored: AtomicU64::new(0),
            next: AtomicUsize::new(0),
        }
    }

    /// So many callers for so long.
    pub(super) async fn run(self: &Arc<Self>, callers: usize, time: Duration) -> Tally {
        let started = Instant::now();
        let mut running = JoinSet::new();
        for _ in 0..callers {
            let load = Arc::clone(self);
            running.spawn(async move { load.caller(started, time).await });
        }
        let mut all = Tally::default();
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok(tally) => all.add(tally),
                Err(error) => all.unscored(None, None, error.to_string()),
            }
        }
        all.seconds = started.elapsed().as_secs_f64();
        all
    }

    async fn caller(&self, started: Instant, time: Duration) -> Tally {
        let mut tally = Tally::default();
        let mut connection = Connection::new(Arc::clone(&self.target));
        while started.elapsed() < time {
            let index = self.next.fetch_add(1, Ordering::Relaxed) % self.files.len().max(1);
            let Some(file) = self.files.get(index) else {
                break;
            };
            let sent = Instant::now();
            let answer = connection.post(&self.path, file.clone()).await;
            let milliseconds = sent.elapsed().as_secs_f64() * 1e3;
            if tally.count(answer, milliseconds) {
                self.scored.fetch_add(1, Ordering::Relaxed);
            } else {
                tokio::time::sleep(PAUSE).await;
            }
        }
        tally
    }
}

impl Tally {
    /// Counts an answer; says whether it is a score.
    fn count(&mut self, answer: anyhow::Result<(StatusCode, Bytes)>, milliseconds: f64) -> bool {
        let (status, body) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.unscored(None, None, format!("{error:#}"));
                return false;
            }
        };
        if status == StatusCode::OK {
            if let Ok(answer) = serde_json::from_slice::<Answer>(&body) {
                self.latencies.push(milliseconds);
                self.stages = self.stages.with(answer.timings_ms.into(), |sum, more| sum + more);
                return true;
            }
            self.unscored(Some(status), None, "the answer holds no score".to_owned());
        } else if let Some(client::Reason { code, message }) = client::reason(&body) {
            self.unscored(Some(status), Some(code), message);
        } else {
            self.unscored(Some(status), None, "the answer gives no reason".to_owned());
        }
        false
    }

    fn unscored(&mut self, status: Option<StatusCode>, code: Option<String>, message: String) {
        let status = status.map(|status| status.as_u16());
        let first = Unscored { count: 0, message };
        self.unscored.entry(Kind { status, code }).or_insert(first).count += 1;
    }

    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.stages = self.stages.with(other.stages, |sum, more| sum + more);
        for (kind, more) in other.unscored {
            let first = Unscored {
                count: 0,
                ..more.clone()
            };
            self.unscored.entry(kind).or_insert(first).count += more.count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_score_a_refusal_or_an_error() {
        let score = br#"{"outcome": "scored", "timings_ms":
            {"parse": 1, "decode": 2, "preprocess": 3, "queue": 4, "infer": 5, "total": 15}}"#;
        let mut tally = Tally::default();
        assert!(tally.count(Ok((StatusCode::OK, Bytes::from_static(score))), 20.0));
        assert!(!tally.count(Ok((StatusCode::OK, Bytes::from_static(b"<html>"))), 20.0));
        let full = br#"{"reason": {"code": "overloaded", "message": "come back"}}"#;
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        for body in [full.as_slice(), full, b"<html>"] {
            assert!(!tally.count(Ok((unavailable, Bytes::from_static(body))), 20.0));
        }
        assert!(!tally.count(Err(anyhow::anyhow!("gone")), 20.0));
        let mut all = Tally::default();
        for _ in 0..2 {
            let again = Tally {
                unscored: tally.unscored.clone(),
                ..Tally::default()
            };
            all.add(again);
        }
        let found = all.unscored.iter().map(|(kind, unscored)| {
            let code = kind.code.as_deref();
            (
                kind.status,
                code,
                unscored.count,
                unscored.message.as_str(),
                kind.is_refusal(),
            )
        });
        let expected = [
            (None, None, 2, "gone", false),
            (Some(200), None, 2, "the answer holds no score", false),
            (Some(503), None, 2, "the answer gives no reason", true),
            (Some(503), Some("overloaded"), 4, "come back", true),
        ];
        assert_eq!(found.collect::<Vec<_>>(), expected);
        all.add(tally);
        assert_eq!(all.latencies, [20.0]);
        assert_eq!(all.stages.each().map(|sum| sum as u32), [1, 2, 3, 4, 5]);
    }
}
