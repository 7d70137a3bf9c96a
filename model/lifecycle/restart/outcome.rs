//! What came of a request. Every request that was not refused at once ends with exactly one [`Outcome`].
//!
//! A restart ends the life that was asked for it, so what is open and what nobody was told yet is data: the
//! [`Ledger`], to be written down by this life and handed to the next. A request that a life leaves open, however it
//! ended, is done by the next generation that comes up: it is new, which is what was asked for.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Generation;
use super::decision::Refusal;
use super::request::{Notice, Reason, RequestId, Source};

/// How many outcomes are remembered that somebody was told.
const MOST_REMEMBERED: usize = 32;

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ending")]
pub enum Ending {
    /// The gateway restarted.
    Done {
        /// The generation that came up.
        generation: Generation,
    },
    /// The gateway restarted for another request, and for this one with it.
    Merged {
        /// That request.
        into: RequestId,
        /// The generation that came up.
        generation: Generation,
    },
    /// There will be no restart for it.
    Refused {
        /// Why not.
        why: Refusal,
    },
    /// It was given up after its time.
    TimedOut {
        /// What it waited for.
        waiting_for: String,
    },
}

/// What came of a request, and who is to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The request.
    #[serde(flatten)]
    pub of: Carried,
    /// How it ended.
    #[serde(flatten)]
    pub ending: Ending,
}

impl Outcome {
    /// What the requester is told.
    pub fn words(&self) -> String {
        let reason =
            self.of.reason.as_ref().map_or_else(String::new, |reason| format!(" ({})", reason.as_str()));
        let what = format!("restart {}{reason}", self.of.request);
        match &self.ending {
            Ending::Done { generation } => format!("{what}: done, the gateway is up again as {generation}"),
            Ending::Merged { into, generation } => {
                format!("{what}: done together with {into}, the gateway is up again as {generation}")
            }
            Ending::Refused { why } => format!("{what}: refused, {why}"),
            Ending::TimedOut { waiting_for } => format!("{what}: given up, {waiting_for}"),
        }
    }
}

/// A request as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Carried {
    /// Its name.
    pub request: RequestId,
    /// Who asked.
    pub source: Source,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Who is told, besides whoever waits for the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
    /// The key under which a client asked, so that it can ask again in another life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What a life must write down about requests, for the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// The generation that wrote it. The next one has the next number.
    pub generation: Generation,
    /// The requests that have not ended, the oldest first.
    #[serde(default)]
    pub open: Vec<Carried>,
    /// What came of requests and nobody was told yet.
    #[serde(default)]
    pub untold: Vec<Outcome>,
    /// What somebody was told lately, the oldest first.
    #[serde(default)]
    pub told: Vec<Outcome>,
}

/// The latest outcomes that somebody was told, the oldest first: for whoever asks what came of his request, and for
/// whoever asks again because he did not hear it.
#[derive(Clone, Debug)]
pub(super) struct Remembered(VecDeque<Outcome>);

impl Remembered {
    pub(super) fn new(told: Vec<Outcome>) -> Self {
        let mut remembered = Self(VecDeque::new());
        told.into_iter().for_each(|outcome| remembered.push(outcome));
        remembered
    }

    pub(super) fn push(&mut self, outcome: Outcome) {
        self.0.push_back(outcome);
        let surplus = self.0.len().saturating_sub(MOST_REMEMBERED);
        self.0.drain(..surplus);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Outcome> {
        self.0.iter()
    }
}

impl Ledger {
    /// The same, written no earlier than by `seen`: a generation that some record names, should the ledger be lost.
    /// What it began would count as the next one's work otherwise.
    pub fn not_before(self, seen: Generation) -> Self {
        Self { generation: self.generation.max(seen), ..self }
    }
}

/// The outcomes of requests that one restart served.
pub(super) fn served_by(generation: Generation, requests: Vec<Carried>) -> Vec<Outcome> {
    let Some(first) = requests.first().map(|carried| carried.request) else { return Vec::new() };
    let outcome = |of: Carried| {
        let ending = match of.request == first {
            true => Ending::Done { generation },
            false => Ending::Merged { into: first, generation },
        };
        Outcome { of, ending }
    };
    requests.into_iter().map(outcome).collect()
}
