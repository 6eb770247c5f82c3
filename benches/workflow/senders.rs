//! Clients that send studies by STOW-RS as fast as they are taken, and remember when each was acknowledged.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use tokio::task::JoinSet;

use crate::stage::study::{Study, uid};

/// Studies, ready to be sent.
pub(crate) struct Studies {
    media_type: &'static str,
    bodies: Vec<(String, Bytes)>,
}

/// What came of sending them.
#[derive(Default)]
pub(crate) struct Sent {
    /// When each study was acknowledged, in milliseconds since 1970.
    pub(crate) acknowledged: HashMap<String, i64>,
    /// Answers that were not an acknowledgment.
    pub(crate) errors: usize,
}

impl Studies {
    /// `count` studies of one image with `rows` rows; `run` tells their UIDs from others.
    pub(crate) fn new(run: u64, count: usize, rows: u16) -> Self {
        let mut media_type = "";
        let bodies = (0..count as u64).map(|number| {
            let study = Study::new(&uid(run, number), 1, rows);
            let (kind, body) = study.body();
            media_type = kind;
            (study.uid, Bytes::from(body))
        });
        let bodies = bodies.collect();
        Self { media_type, bodies }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.bodies.len()
    }

    /// Sends each once, by `clients` clients who wait for `pause` between two studies.
    pub(crate) async fn send(
        self: &Arc<Self>,
        doors: &[String],
        clients: usize,
        pause: Duration,
    ) -> Result<Sent> {
        let sent = Arc::<Mutex<Sent>>::default();
        let next = Arc::new(AtomicUsize::new(0));
        let mut senders = JoinSet::new();
        for client in 0..clients {
            let door = format!("{}/dicom-web/studies", doors[client % doors.len()]);
            let (studies, sent, next) = (Arc::clone(self), Arc::clone(&sent), Arc::clone(&next));
            let http = reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_mins(1))
                .build()?;
            senders.spawn(async move {
                while let Some((uid, body)) = studies.bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let request = http.post(&door).header(CONTENT_TYPE, studies.media_type);
                    let answer = request.body(body.clone()).send().await;
                    let taken = answer.is_ok_and(|answer| answer.status() == 200);
                    note(&sent, uid, taken);
                    tokio::time::sleep(pause).await;
                }
            });
        }
        while senders.join_next().await.is_some() {}
        let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut sent))
    }
}

fn note(sent: &Mutex<Sent>, uid: &str, taken: bool) {
    let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
    if taken {
        sent.acknowledged.insert(uid.to_owned(), now());
    } else {
        sent.errors += 1;
    }
}

/// Milliseconds since 1970, as the databases count them.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as i64
}
