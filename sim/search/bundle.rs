//! Bundles: a failure as a folder that can be carried to another machine, and replayed there next year.
//!
//! It holds the scenario as it failed, the shrunk one, what happened, and what the run was made by. A replay on the same
//! build is the same run, byte for byte. On another build the shrunk scenario, whose steps are anchored to events, is
//! what still says the same; where it does not, some anchor of it no longer comes to pass.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{Draft, Run, Signature};
use crate::report::timeline;
use crate::scenario::{EVENTS, ScenarioError};
use crate::verdict::{RunResult, Verdict};

const SCENARIO: &str = "scenario.toml";
const SHRUNK: &str = "shrunk.toml";
const ABOUT: &str = "bundle.json";
const TIMELINE: &str = "timeline.txt";
const SUMMARY: &str = "summary.txt";

/// With how many seeds a shrunk scenario is tried when its own does not fail any more.
const SEEDS_TRIED: u64 = 50;

/// What a bundle says about its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The profile.
    pub profile: String,
    /// The seed with which the scenario fails.
    pub seed: u64,
    /// The seed with which the shrunk scenario fails.
    pub shrunk_seed: u64,
    /// The invariant that did not hold.
    pub invariant: String,
    /// Where the message in question was last seen, if it is about one.
    pub place: Option<String>,
    /// The hash of the run's events, 16 hex digits.
    pub hash: String,
    /// What made the run: a fingerprint of the program.
    pub build: String,
}

/// Why a bundle cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file of it.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the filesystem said.
        source: io::Error,
    },
    /// What it says about its run is no JSON of ours.
    #[error("{path}: {source}")]
    About {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A scenario of it cannot be used by this build.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
}

/// What a replay shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// The same run, event by event, and the same failure.
    Identical,
    /// The same run, event by event, which is judged otherwise by this build.
    JudgedOtherwise,
    /// Another run, which fails in the same way with the same seed.
    SameFailure,
    /// The shrunk scenario fails in the same way, with this seed.
    ByAnchors {
        /// The seed.
        seed: u64,
    },
    /// It does not fail any more.
    Fixed,
    /// It cannot be told: something of the shrunk scenario never happened.
    Drifted {
        /// What, in sentences.
        unmet: Vec<String>,
    },
}

/// The fingerprint of the program that runs.
pub fn fingerprint() -> String {
    let program = std::env::current_exe().and_then(fs::read);
    program.map_or_else(|_| "unknown".to_string(), |bytes| format!("{:016x}", xxh3_64(&bytes)))
}

/// What goes into a bundle.
pub struct Failure<'a> {
    /// The run that failed, with its timeline.
    pub result: &'a RunResult,
    /// Its scenario.
    pub draft: &'a Draft,
    /// How it failed.
    pub signature: &'a Signature,
    /// The shrunk scenario and a seed with which that fails.
    pub shrunk: (&'a Draft, u64),
}

/// Writes a bundle into `folder`, which is made.
///
/// Errors: what the filesystem says, with the file.
pub fn write(folder: &Path, failure: &Failure<'_>) -> Result<(), BundleError> {
    let Failure { result, draft, signature, shrunk: (shrunk, shrunk_seed) } = failure;
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|source| BundleError::File { path, source })
    };
    fs::create_dir_all(folder).map_err(|source| BundleError::File { path: folder.to_path_buf(), source })?;
    let about = About {
        profile: result.profile.clone(),
        seed: result.seed,
        shrunk_seed: *shrunk_seed,
        invariant: signature.invariant.clone(),
        place: signature.place.clone(),
        hash: result.hash.to_string(),
        build: fingerprint(),
    };
    let json = serde_json::to_string_pretty(&about).expect("plain values have a JSON form");
    file(SCENARIO, &draft.to_text())?;
    file(SHRUNK, &shrunk.to_text())?;
    file(TIMELINE, &timeline::render(&result.timeline, &timeline::TimelineOptions::default()))?;
    file(SUMMARY, &summary(result, signature))?;
    // The last: a folder with this file is a whole bundle.
    file(ABOUT, &format!("{json}\n"))
}

/// What the folder of a failure's bundle is called: the same for the same signature, so that duplicates meet.
pub fn folder_of(signature: &Signature) -> String {
    let hash = xxh3_64(signature.to_string().as_bytes()) as u32;
    format!("{}-{hash:08x}", signature.invariant)
}

/// Whether `folder` holds a whole bundle of a failure with this signature.
pub fn is_of(folder: &Path, signature: &Signature) -> bool {
    let about = fs::read(folder.join(ABOUT)).ok();
    let about: Option<About> = about.and_then(|json| serde_json::from_slice(&json).ok());
    about.is_some_and(|about| {
        (about.invariant, about.place) == (signature.invariant.clone(), signature.place.clone())
    })
}

fn summary(result: &RunResult, signature: &Signature) -> String {
    let mut text = format!("{signature}\n{} with seed {}\n", result.profile, result.seed);
    for violation in &result.violations {
        text.push_str(&format!(
            "\n{}: {}\n{}\n",
            violation.invariant, violation.message, violation.explanation
        ));
    }
    for note in &result.notes {
        text.push_str(&format!("\n{note}\n"));
    }
    text
}

/// Makes the run of the bundle in `folder` again.
///
/// Errors: what is missing or wrong in the folder.
pub fn replay(run: Run<'_>, folder: &Path) -> Result<(About, Replayed), BundleError> {
    let path = folder.join(ABOUT);
    let json = fs::read(&path).map_err(|source| BundleError::File { path: path.clone(), source })?;
    let about: About = serde_json::from_slice(&json).map_err(|source| BundleError::About { path, source })?;
    let replayed = replay_of(run, folder, &about)?;
    Ok((about, replayed))
}

fn replay_of(run: Run<'_>, folder: &Path, about: &About) -> Result<Replayed, BundleError> {
    let signature = Signature { invariant: about.invariant.clone(), place: about.place.clone() };
    let (whole, shrunk) = (folder.join(SCENARIO), folder.join(SHRUNK));
    let draft = Draft::read(&whole, None)?;
    if events_gone(&draft).is_empty() {
        let scenario = draft.scenario(&whole)?;
        let result = run(&scenario, &about.profile, about.seed);
        let is_same_run = result.hash.to_string() == about.hash;
        match (is_same_run, Signature::all_of(&result, &scenario).contains(&signature)) {
            (true, true) => return Ok(Replayed::Identical),
            (true, false) => return Ok(Replayed::JudgedOtherwise),
            (false, true) => return Ok(Replayed::SameFailure),
            (false, false) => {}
        }
    }
    let draft = Draft::read(&shrunk, None)?;
    let unmet = events_gone(&draft);
    if !unmet.is_empty() {
        return Ok(Replayed::Drifted { unmet });
    }
    let scenario = draft.scenario(&shrunk)?;
    let seeds =
        [about.shrunk_seed].into_iter().chain((1..=SEEDS_TRIED).filter(|seed| *seed != about.shrunk_seed));
    let mut unmet = Vec::new();
    let mut is_exercised = false;
    for seed in seeds {
        let result = run(&scenario, &about.profile, seed);
        if Signature::all_of(&result, &scenario).contains(&signature) {
            return Ok(Replayed::ByAnchors { seed });
        }
        match result.verdict {
            Verdict::Inconclusive if unmet.is_empty() => unmet = result.notes,
            Verdict::Inconclusive => {}
            _ => is_exercised = true,
        }
    }
    Ok(if is_exercised { Replayed::Fixed } else { Replayed::Drifted { unmet } })
}

/// The anchors of steps that this build has no events for, as sentences.
fn events_gone(draft: &Draft) -> Vec<String> {
    let anchors = draft.steps().iter().filter_map(|step| step.get("on")?.as_str());
    let gone = anchors.filter(|anchor| EVENTS.iter().all(|(known, ..)| known != anchor));
    gone.map(|anchor| format!("there are no events called {anchor} any more")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::KILLED_MID_ANSWER;
    use super::*;

    const PROFILE: &str = "planted:recovery-skipped";

    /// A bundle of a run that fails.
    fn bundle(folder: &Path) {
        let draft = Draft::new(KILLED_MID_ANSWER.parse().expect("is TOML"));
        let scenario = draft.scenario(Path::new("x.toml")).expect("is a scenario");
        let result = crate::run(&scenario, PROFILE, 3);
        let signature = Signature::of(&result, &scenario).expect("it fails");
        let failure = Failure { result: &result, draft: &draft, signature: &signature, shrunk: (&draft, 3) };
        write(folder, &failure).expect("the folder can be written");
    }

    fn change(folder: &Path, name: &str, from: &str, to: &str) {
        let path = folder.join(name);
        let text = fs::read_to_string(&path).expect("is there");
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).expect("can be written");
    }

    fn replayed(folder: &Path) -> Replayed {
        replay(&crate::run, folder).expect("is a bundle").1
    }

    #[test]
    fn a_replay_says_how_much_is_still_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        bundle(folder);
        assert_eq!(replayed(folder), Replayed::Identical);
        change(folder, ABOUT, "no-silent-drop", "up-at-the-end");
        assert_eq!(replayed(folder), Replayed::JudgedOtherwise);
        change(folder, ABOUT, "up-at-the-end", "no-silent-drop");
        change(folder, SCENARIO, "hello", "good morning");
        assert_eq!(replayed(folder), Replayed::SameFailure);
        change(folder, SCENARIO, "\"kill\"", "\"service-restart\"");
        assert_eq!(replayed(folder), Replayed::ByAnchors { seed: 3 });
        change(folder, SHRUNK, "provider.requested", "gateway.never-said");
        let Replayed::Drifted { unmet } = replayed(folder) else { panic!("the anchor is gone") };
        assert!(unmet.iter().any(|sentence| sentence.contains("gateway.never-said")), "{unmet:?}");
        change(folder, ABOUT, PROFILE, "hardened");
        change(folder, SHRUNK, "gateway.never-said", "provider.requested");
        assert_eq!(replayed(folder), Replayed::Fixed);
    }

    #[test]
    fn what_is_no_bundle_is_refused_with_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = replay(&crate::run, folder.path()).expect_err("there is nothing");
        assert!(error.to_string().contains(ABOUT), "{error}");
    }
}
