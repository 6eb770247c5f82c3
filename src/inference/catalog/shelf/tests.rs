//! Of [`super`]: looks at made-up folders, and proofs that end as they are told.

use super::super::fingerprint::Found;
use super::super::versions::Versions;
use super::*;

/// A shelf with a folder that changes from look to look; what serves is a fingerprint.
struct Story {
    shelf: Shelf<u64>,
    folder: BTreeMap<(&'static str, &'static str), u64>,
    /// Fingerprints that fail their proof.
    broken: BTreeSet<u64>,
    /// Those of them that may hold another time.
    passing: BTreeSet<u64>,
    /// Seconds.
    clock: u64,
    tried: Vec<u64>,
}

impl Story {
    fn new(versions: Versions, pins: &[(&str, &[u32])]) -> Self {
        let pins = pins
            .iter()
            .map(|(model, versions)| ((*model).to_owned(), versions.iter().copied().collect()))
            .collect();
        Self {
            shelf: Shelf::new(Wanted { versions, pins }),
            folder: BTreeMap::new(),
            broken: BTreeSet::new(),
            passing: BTreeSet::new(),
            clock: 0,
            tried: Vec::new(),
        }
    }

    fn put(&mut self, version: &'static str, content: u64) -> &mut Self {
        self.folder.insert(("m", version), content);
        self
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.clock)
    }

    fn settle(&mut self) {
        let now = self.now();
        for model in self.shelf.models() {
            while let Some(candidate) = self.shelf.next(&model, now) {
                let content = self.folder[&("m", candidate.key.1.clone().leak() as &'static str)];
                self.tried.push(content);
                let result = if self.broken.contains(&content) {
                    Err(Unproven {
                        stage: Stage::Goldens,
                        reason: format!("{content} is broken"),
                        may_pass: self.passing.contains(&content),
                    })
                } else {
                    Ok(content)
                };
                self.shelf.tried(&candidate, result, now);
            }
        }
    }

    /// One look, and what serves after it.
    fn look(&mut self, at_once: bool) -> Vec<(u32, u64)> {
        let found = self.folder.iter().map(|((model, version), content)| Found {
            model: (*model).to_owned(),
            version: (*version).to_owned(),
            folder: PathBuf::from(version),
            fingerprint: Fingerprint(*content),
        });
        let now = self.now();
        let look = Look {
            packages: found.collect(),
            ..Look::default()
        };
        self.shelf.see(&look, at_once, now);
        self.settle();
        self.serving()
    }

    fn serving(&self) -> Vec<(u32, u64)> {
        let serving = self.shelf.serving();
        serving
            .get("m")
            .into_iter()
            .flatten()
            .map(|(version, content)| (*version, *content))
            .collect()
    }

    fn states(&self) -> Vec<State> {
        self.shelf.index().iter().map(|package| package.state).collect()
    }
}

#[test]
fn the_newest_that_proves_itself_serves_and_the_next_older_one_where_it_fails() {
    let mut story = Story::new(Versions::Latest, &[]);
    story.broken.insert(3);
    story.put("1", 1).put("2", 2).put("3", 3);
    assert_eq!(story.look(true), [(2, 2)]);
    assert_eq!(story.states(), [State::Idle, State::Ready, State::Failed]);
    assert_eq!(story.tried, [3, 2], "the oldest is not even opened");
    // nothing changed: nothing is tried again
    story.look(false);
    assert_eq!(story.tried, [3, 2]);
}

#[test]
fn a_new_version_is_tried_when_two_looks_agree_and_the_old_one_serves_until_then() {
    let mut story = Story::new(Versions::Latest, &[]);
    story.put("9", 9);
    story.look(true);
    story.put("10", 100);
    assert_eq!(story.look(false), [(9, 9)]);
    story.put("10", 101);
    assert_eq!(story.look(false), [(9, 9)], "it grew: the copy is under way");
    assert_eq!(story.states(), [State::Ready, State::Waiting]);
    assert_eq!(story.look(false), [(10, 101)], "10 is newer than 9");
    assert_eq!(story.tried, [9, 101]);
}

#[test]
fn a_version_that_is_spoilt_in_its_place_serves_on_as_it_was() {
    let mut story = Story::new(Versions::Latest, &[]);
    story.put("1", 1).put("2", 2);
    story.look(true);
    story.broken.insert(20);
    story.put("2", 20);
    story.look(false);
    assert_eq!(story.look(false), [(2, 2)]);
    let index = story.shelf.index();
    assert_eq!((index[1].state, index[1].serving), (State::Failed, true));
    assert_eq!(index[1].reason.as_deref(), Some("20 is broken"));
    story.put("2", 21);
    story.look(false);
    assert_eq!(story.look(false), [(2, 21)]);
}

#[test]
fn every_version_or_those_that_are_pinned() {
    let mut story = Story::new(Versions::All, &[]);
    story.put("1", 1).put("2", 2).put("3", 3);
    assert_eq!(story.look(true), [(1, 1), (2, 2), (3, 3)]);
    let mut story = Story::new(Versions::Latest, &[("m", &[1, 3])]);
    story.put("1", 1).put("2", 2).put("3", 3);
    assert_eq!(story.look(true), [(1, 1), (3, 3)]);
    assert_eq!(story.states(), [State::Ready, State::Idle, State::Ready]);
}

#[test]
fn what_is_missed_once_serves_on_and_what_is_missed_twice_is_gone() {
    let mut story = Story::new(Versions::Latest, &[]);
    story.put("1", 1).put("2", 2);
    story.look(true);
    story.folder.remove(&("m", "2"));
    assert_eq!(story.look(false), [(2, 2)]);
    assert_eq!(
        story.look(false),
        [(1, 1)],
        "the older one is proven and takes its place"
    );
    story.folder.clear();
    story.look(false);
    assert_eq!(story.look(false), []);
}

#[test]
fn an_unloaded_model_stays_away_whatever_is_copied_until_it_is_asked_for() {
    let mut story = Story::new(Versions::Latest, &[]);
    story.put("1", 1);
    story.look(true);
    assert!(story.shelf.unload("m") && !story.shelf.unload("other"));
    story.settle();
    assert_eq!(story.serving(), []);
    story.put("2", 2);
    story.look(false);
    assert_eq!(story.look(false), []);
    assert_eq!(story.states(), [State::Unloaded, State::Unloaded]);
    assert!(story.shelf.ask("m") && !story.shelf.ask("other"));
    story.settle();
    assert_eq!(story.serving(), [(2, 2)]);
}

#[test]
fn a_model_that_is_unloaded_while_it_is_proven_never_serves() {
    let mut story = Story::new(Versions::Latest, &[]);
    let now = SystemTime::UNIX_EPOCH;
    story.put("1", 1);
    let found = Found {
        model: "m".to_owned(),
        version: "1".to_owned(),
        folder: PathBuf::from("1"),
        fingerprint: Fingerprint(1),
    };
    let look = Look {
        packages: vec![found],
        ..Look::default()
    };
    story.shelf.see(&look, true, now);
    let candidate = story.shelf.next("m", now).unwrap();
    assert!(story.shelf.unload("m"));
    assert_eq!(story.shelf.next("m", now), None);
    story.shelf.tried(&candidate, Ok(1), now);
    assert_eq!(story.shelf.next("m", now), None);
    assert_eq!((story.serving(), story.states()), (vec![], vec![State::Unloaded]));
    assert!(story.shelf.ask("m"));
    story.settle();
    assert_eq!(story.serving(), [(1, 1)]);
}

#[test]
fn a_folder_that_is_no_version_is_named() {
    let mut story = Story::new(Versions::All, &[]);
    story.put("latest", 1).put("01", 2).put("1", 3);
    assert_eq!(story.look(true), [(1, 3)]);
    assert_eq!(story.states(), [State::Failed, State::Failed, State::Ready]);
    assert_eq!(story.look(false), [(1, 3)]);
}

#[test]
fn what_failed_for_a_reason_that_may_pass_is_tried_again_after_longer_each_time() {
    let mut story = Story::new(Versions::Latest, &[]);
    story.broken.extend([2, 3]);
    story.passing.insert(2);
    story.put("1", 1).put("2", 2).put("3", 3);
    assert_eq!(story.look(true), [(1, 1)]);
    assert_eq!(story.tried, [3, 2, 1]);
    let after = |story: &Story| story.shelf.index()[1].again_after;
    let seconds = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    assert_eq!(after(&story), seconds(10));
    assert_eq!(
        story.shelf.index()[2].again_after,
        None,
        "3 will not be otherwise"
    );
    for (clock, next) in [(9, 10), (10, 30), (29, 30), (30, 70)] {
        story.clock = clock;
        story.look(false);
        assert_eq!(after(&story), seconds(next), "at {clock} s");
    }
    assert_eq!(story.tried, [3, 2, 1, 2, 2]);
    // ten minutes at most
    for _ in 0..20 {
        story.clock += 600;
        story.look(false);
    }
    assert_eq!(after(&story), seconds(story.clock + 600));
    // a clock that was put back makes it wait no longer
    story.clock = 5;
    story.look(false);
    assert_eq!(after(&story), seconds(605));
    story.clock = 605;
    story.broken.remove(&2);
    assert_eq!(story.look(false), [(2, 2)]);
    assert_eq!(after(&story), None);
    assert_eq!(story.states(), [State::Idle, State::Ready, State::Failed]);
}

#[test]
fn what_changed_or_is_asked_for_is_tried_at_once_and_begins_anew() {
    let mut story = Story::new(Versions::Latest, &[]);
    story.broken.extend([1, 11]);
    story.passing.extend([1, 11]);
    story.put("1", 1);
    story.look(true);
    story.clock = 10;
    story.look(false);
    assert_eq!(story.tried, [1, 1]);
    story.put("1", 11);
    story.look(false);
    story.look(false);
    assert_eq!(story.tried, [1, 1, 11]);
    let again_after = story.shelf.index()[0].again_after;
    assert_eq!(again_after, Some(story.now() + REST), "the rest begins anew");
    story.shelf.ask("m");
    story.settle();
    assert_eq!(story.tried, [1, 1, 11, 11]);
    // one that is not wanted rests for nothing, and is tried when it is wanted
    story.put("2", 2);
    story.look(false);
    story.look(false);
    assert_eq!(story.states(), [State::Idle, State::Ready]);
    assert_eq!(story.shelf.index()[0].again_after, None);
    story.folder.remove(&("m", "2"));
    story.look(false);
    story.look(false);
    assert_eq!(story.tried, [1, 1, 11, 11, 2, 11]);
}
