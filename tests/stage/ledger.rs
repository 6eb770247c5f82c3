//! A ledger kept outside of the server: what was sent, what was acknowledged, and what became of it.
//!
//! Lost: acknowledged, and unknown, or with fewer images, or with one whose bytes are damaged. Doubled: more than one outcome, or another
//! result, for the same generation of a study. Stuck: without an outcome when the time for it is over. Nothing here trusts a counter of the
//! server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::load::client;
use super::study::Study;

/// The states of a study that has its outcome, and the names of the events that gave it.
const OUTCOMES: [&str; 3] = ["scored", "refused", "failed"];
/// How many questions are asked at the same time.
const ASKING: usize = 8;

#[derive(Clone, Debug, Default)]
struct Entry {
    /// The digest of each image that was sent.
    sent: BTreeMap<String, String>,
    acknowledged: BTreeSet<String>,
    /// The result that was seen for each generation.
    seen: BTreeMap<i64, String>,
}

#[derive(Default)]
struct Book {
    studies: BTreeMap<String, Entry>,
    /// Studies whose result was seen to change.
    changed: BTreeSet<String>,
}

/// The ledger; a clone is the same one.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Book>>);

/// What the ledger found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit {
    /// Studies of which something was acknowledged.
    pub(crate) studies: usize,
    /// Images that were acknowledged.
    pub(crate) images: usize,
    /// How many studies ended in each state.
    pub(crate) states: BTreeMap<String, usize>,
    pub(crate) lost: Vec<String>,
    pub(crate) doubled: Vec<String>,
    pub(crate) stuck: Vec<String>,
    /// Anything else that is not as it should be.
    pub(crate) wrong: Vec<String>,
    /// From the end of the faults until the last study had its outcome.
    pub(crate) settled_after: Duration,
}

impl Audit {
    pub(crate) fn state(&self, name: &str) -> usize {
        self.states.get(name).copied().unwrap_or(0)
    }

    /// Every finding as a sentence, the first few of a kind only.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let kinds = [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("stuck", &self.stuck),
            ("wrong", &self.wrong),
        ];
        kinds
            .iter()
            .filter(|(_, found)| !found.is_empty())
            .map(|(kind, found)| {
                format!(
                    "{} {kind}: {}",
                    found.len(),
                    found[..found.len().min(3)].join("; ")
                )
            })
            .collect()
    }
}

impl Ledger {
    /// A study is about to be sent.
    pub(crate) fn sent(&self, study: &Study) {
        let mut book = self.0.lock().unwrap();
        let entry = book.studies.entry(study.uid.clone()).or_default();
        for image in &study.images {
            entry.sent.insert(image.uid.clone(), sha256(&image.bytes));
        }
    }

    /// A door said that it has stored these images.
    pub(crate) fn acknowledged(&self, study: &str, images: &[String]) {
        let mut book = self.0.lock().unwrap();
        let entry = book.studies.entry(study.to_owned()).or_default();
        entry.acknowledged.extend(images.iter().cloned());
    }

    /// Studies of which something was acknowledged.
    pub(crate) fn studies(&self) -> Vec<String> {
        self.entries().into_iter().map(|(uid, _)| uid).collect()
    }

    fn entries(&self) -> Vec<(String, Entry)> {
        let book = self.0.lock().unwrap();
        let known = book
            .studies
            .iter()
            .filter(|(_, entry)| !entry.acknowledged.is_empty());
        known.map(|(uid, entry)| (uid.clone(), entry.clone())).collect()
    }

    /// Remembers which result a study has, and notices when it is another one than before.
    fn saw(&self, study: &str, body: &Value) {
        let state = body["state"].as_str().unwrap_or_default();
        if !OUTCOMES.contains(&state) {
            return;
        }
        let key = body["result_key"]
            .as_str()
            .map_or_else(|| body["result"].to_string(), str::to_owned);
        let mut book = self.0.lock().unwrap();
        let entry = book.studies.entry(study.to_owned()).or_default();
        let generation = body["generation"].as_i64().unwrap_or(-1);
        let before = entry.seen.entry(generation).or_insert_with(|| key.clone());
        if *before != key {
            book.changed.insert(study.to_owned());
        }
    }

    /// Looks at studies at random until `stop`, so that a result that changes is seen.
    pub(crate) async fn watch(self, doors: Vec<String>, stop: CancellationToken) {
        let client = client();
        let mut turn = 0_usize;
        while stop
            .run_until_cancelled(sleep(Duration::from_millis(25)))
            .await
            .is_some()
        {
            let studies = self.studies();
            if studies.is_empty() {
                continue;
            }
            turn += 1;
            // a walk that comes by every study: 7919 is a prime
            let study = &studies[turn * 7919 % studies.len()];
            if let Some((200, body)) = ask(
                &client,
                &doors[turn % doors.len()],
                &format!("/v1/studies/{study}"),
            )
            .await
            {
                self.saw(study, &body);
            }
        }
    }

    /// Waits until every study has its outcome, or none has got one for as long as `bound`, and holds each against what was acknowledged.
    /// What is analysed slowly, on a busy machine, is not stuck.
    pub(crate) async fn audit(&self, doors: &[String], bound: Duration) -> Audit {
        let began = Instant::now();
        let client = client();
        let entries = self.entries();
        let mut audit = Audit {
            studies: entries.len(),
            images: entries.iter().map(|(_, entry)| entry.acknowledged.len()).sum(),
            ..Audit::default()
        };
        let progress = Mutex::new(began);
        let looks = entries.iter().enumerate().map(|(index, (study, entry))| {
            let (client, door, progress) = (&client, &doors[index % doors.len()], &progress);
            async move { (study, entry, settled(client, door, study, progress, bound).await) }
        });
        let looks: Vec<_> = futures_util::stream::iter(looks)
            .buffer_unordered(ASKING)
            .collect()
            .await;
        audit.settled_after = began.elapsed();
        let seconds = looks.iter().map(|(study, entry, body)| {
            let client = &client;
            async move {
                let mut found = Audit::default();
                self.hold(client, doors, study, entry, body.as_ref(), &mut found)
                    .await;
                found
            }
        });
        let founds: Vec<Audit> = futures_util::stream::iter(seconds)
            .buffer_unordered(ASKING)
            .collect()
            .await;
        for found in founds {
            audit.lost.extend(found.lost);
            audit.doubled.extend(found.doubled);
            audit.stuck.extend(found.stuck);
            audit.wrong.extend(found.wrong);
            for (state, count) in found.states {
                *audit.states.entry(state).or_default() += count;
            }
        }
        let changed = self.0.lock().unwrap().changed.clone();
        audit.doubled.extend(
            changed
                .into_iter()
                .map(|study| format!("{study}: its result changed within one generation")),
        );
        audit
    }

    /// Holds one study against what was acknowledged of it.
    async fn hold(
        &self,
        client: &reqwest::Client,
        doors: &[String],
        study: &str,
        entry: &Entry,
        look: Option<&(u16, Value)>,
        found: &mut Audit,
    ) {
        let Some((status, body)) = look else {
            return found.stuck.push(format!("{study}: no door answered"));
        };
        if *status != 200 {
            let kind = if *status == 404 {
                &mut found.lost
            } else {
                &mut found.wrong
            };
            return kind.push(format!("{study}: GET said {status}"));
        }
        let state = body["state"].as_str().unwrap_or_default();
        *found.states.entry(state.to_owned()).or_default() += 1;
        let instances = body["instances"].as_u64().unwrap_or(0) as usize;
        if instances < entry.acknowledged.len() {
            let acknowledged = entry.acknowledged.len();
            found.lost.push(format!(
                "{study}: {instances} images of {acknowledged} acknowledged"
            ));
        }
        if instances > entry.sent.len() {
            found.wrong.push(format!(
                "{study}: {instances} images of {} sent",
                entry.sent.len()
            ));
        }
        if !OUTCOMES.contains(&state) {
            return found.stuck.push(format!("{study}: still {state}"));
        }
        if body["result"].to_string().contains("object-damaged") {
            found.lost.push(format!("{study}: an image is damaged"));
        }
        if body["result_key"].as_str().is_none_or(str::is_empty) {
            found.wrong.push(format!("{study}: {state} without a result_key"));
        }
        for door in doors {
            if let Some((200, again)) = ask(client, door, &format!("/v1/studies/{study}")).await {
                self.saw(study, &again);
                self.saw(study, body);
            }
        }
        match ask(client, &doors[0], &format!("/v1/studies/{study}/timeline")).await {
            Some((200, timeline)) => hold_timeline(study, body, &timeline, found),
            other => found.wrong.push(format!(
                "{study}: no timeline ({:?})",
                other.map(|(status, _)| status)
            )),
        }
    }

    /// Images that were acknowledged and whose bytes are in no file below `folder`.
    pub(crate) fn missing_below(&self, folder: &std::path::Path) -> Vec<String> {
        let mut digests = BTreeSet::new();
        digest_files(folder, &mut digests);
        let entries = self.entries();
        entries
            .iter()
            .flat_map(|(_, entry)| {
                entry
                    .acknowledged
                    .iter()
                    .filter_map(|uid| Some((uid, entry.sent.get(uid)?)))
            })
            .filter(|(_, digest)| !digests.contains(*digest))
            .map(|(uid, _)| format!("{uid}: its bytes are in no file"))
            .collect()
    }
}

/// Exactly one outcome for the generation that stands, at most one for each before it.
fn hold_timeline(study: &str, body: &Value, timeline: &Value, found: &mut Audit) {
    let mut outcomes: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
    let current = body["generation"].as_i64().unwrap_or(-1);
    for event in timeline["events"].as_array().into_iter().flatten() {
        let kind = event["kind"].as_str().unwrap_or_default();
        if OUTCOMES.contains(&kind) {
            let generation = event["generation"].as_i64().unwrap_or(current);
            outcomes.entry(generation).or_default().push(kind);
        }
    }
    for (generation, kinds) in &outcomes {
        if kinds.len() > 1 {
            found
                .doubled
                .push(format!("{study}: generation {generation} ended as {kinds:?}"));
        }
    }
    match outcomes.get(&current).map(Vec::as_slice) {
        None => found.wrong.push(format!(
            "{study}: its timeline has no outcome of generation {current}"
        )),
        Some([kind]) if body["state"] != *kind => {
            found.wrong.push(format!(
                "{study}: {} in one place, {kind} in the other",
                body["state"]
            ));
        }
        Some(_) => {}
    }
}

/// Asks until the study has its outcome, which is written down as `progress`; the last answer when there has been none for as long as
/// `bound`.
async fn settled(
    client: &reqwest::Client,
    door: &str,
    study: &str,
    progress: &Mutex<Instant>,
    bound: Duration,
) -> Option<(u16, Value)> {
    let mut waited = false;
    loop {
        let answer = ask(client, door, &format!("/v1/studies/{study}")).await;
        let done = answer.as_ref().is_some_and(|(status, body)| {
            *status == 404
                || body["state"]
                    .as_str()
                    .is_some_and(|state| OUTCOMES.contains(&state))
        });
        if done {
            // one that was settled long ago is none
            if waited {
                *progress.lock().unwrap() = Instant::now();
            }
            return answer;
        }
        if progress.lock().unwrap().elapsed() > bound {
            return answer;
        }
        waited = true;
        sleep(Duration::from_millis(100)).await;
    }
}

/// One GET; `None` where there was no whole answer.
pub(crate) async fn ask(client: &reqwest::Client, door: &str, path: &str) -> Option<(u16, Value)> {
    let answer = client.get(format!("{door}{path}")).send().await.ok()?;
    let status = answer.status().as_u16();
    Some((status, answer.json().await.unwrap_or(Value::Null)))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn digest_files(folder: &std::path::Path, digests: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            digest_files(&path, digests);
        } else if let Ok(bytes) = std::fs::read(&path) {
            digests.insert(sha256(&bytes));
        }
    }
}
