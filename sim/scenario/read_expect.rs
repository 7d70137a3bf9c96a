//! Reading `[expect]`: outcomes by profile and fates by message.
//!
//! An expectation that nothing can meet is refused: a profile, an invariant, a fate or a message that does not
//! exist.

use std::ops::Range;

use gateway::policy;
use indexmap::IndexMap;
use toml::Spanned;
use toml::de::DeValue;

use super::error::{Problem, Read, list};
use super::read_steps::unknown_sender;
use super::table::{Table, entries, in_file_order, wrong_type};
use super::{Expectations, FATES, INVARIANTS, SenderSetup, Step, Verb};
use crate::timeline::MessageId;
use crate::verdict::Expected;

/// Reads `[expect]`.
pub(super) fn expectations(
    table: &Table<'_>,
    senders: &IndexMap<String, SenderSetup>,
    steps: &[Step],
) -> Read<Expectations> {
    let outcomes = match table.value("outcomes") {
        Some(value) => outcomes(value)?,
        None => [(policy::HARDENED.to_string(), Expected::Pass)].into_iter().collect(),
    };
    let mut fates = IndexMap::new();
    if let Some(value) = table.value("fates") {
        for (name, value) in in_file_order(entries(value, "fates")?) {
            let id = message(name.get_ref(), name.span(), senders, steps)?;
            fates.insert(id, allowed_fates(name.get_ref(), value)?);
        }
    }
    Ok(Expectations { outcomes, fates })
}

fn outcomes(value: &Spanned<DeValue<'_>>) -> Read<IndexMap<String, Expected>> {
    let mut outcomes = IndexMap::new();
    for (profile, outcome) in in_file_order(entries(value, "outcomes")?) {
        if policy::profile(profile.get_ref()).is_none() {
            return Err(Problem::at(profile.span(), format!("unknown profile `{profile}`"))
                .label("there is no such profile")
                .choices(
                    profile.get_ref(),
                    policy::profile_names().chain(policy::planted_names()).collect::<Vec<_>>(),
                ));
        }
        outcomes.insert(profile.get_ref().to_string(), expected(profile.get_ref(), outcome)?);
    }
    if outcomes.is_empty() {
        return Err(Problem::at(value.span(), "`outcomes` names no profile")
            .label("this scenario would never be run")
            .help("leave it out, or write `outcomes = { hardened = \"pass\" }`."));
    }
    Ok(outcomes)
}

fn expected(profile: &str, value: &Spanned<DeValue<'_>>) -> Read<Expected> {
    let Some(text) = value.get_ref().as_str() else {
        return Err(wrong_type(profile, value.get_ref(), value.span(), "an outcome in quotes", "\"pass\""));
    };
    let invariants = match text.split_once(':') {
        None if text.trim() == "pass" => return Ok(Expected::Pass),
        None if text.trim() == "inconclusive" => return Ok(Expected::Inconclusive),
        Some((word, invariants)) if word.trim() == "fail" => invariants,
        _ => {
            return Err(Problem::at(value.span(), format!("unknown outcome `{text}`"))
                .label("there is no such outcome")
                .help("write \"pass\", \"inconclusive\", or \"fail: \" and the invariants that do not hold, as in \"fail: no-silent-drop\"."));
        }
    };
    let invariant = |name: &str| match INVARIANTS.contains(&name) {
        true => Ok(name.to_string()),
        false if name.is_empty() => Err(Problem::at(value.span(), "this failure names no invariant")
            .label("what is it that does not hold?")
            .help("name one or more, separated by commas, as in \"fail: no-silent-drop\".")),
        false => Err(Problem::at(value.span(), format!("unknown invariant `{name}`"))
            .label("there is no such invariant")
            .choices(name, INVARIANTS.iter().copied())),
    };
    invariants.split(',').map(|name| invariant(name.trim())).collect::<Read<_>>().map(Expected::Fail)
}

/// A message id such as `ann#1`, which has to be one that the script sends.
fn message(
    name: &str,
    span: Range<usize>,
    senders: &IndexMap<String, SenderSetup>,
    steps: &[Step],
) -> Read<MessageId> {
    let parts = name.split_once('#').and_then(|(sender, number)| Some((sender, number.parse::<u32>().ok()?)));
    let Some((sender, number)) = parts else {
        return Err(Problem::at(span, format!("`{name}` is not a message"))
            .label("a message is a sender's name, `#` and its number")
            .help("the first message that ann sends is `\"ann#1\"`."));
    };
    if !senders.contains_key(sender) {
        return Err(unknown_sender(sender, span, senders));
    }
    let sends = |step: &Step| match &step.verb {
        Verb::Send { from, count, .. } if from == sender => u64::from(*count),
        _ => 0,
    };
    let sent: u64 = steps.iter().map(sends).sum();
    if number == 0 || u64::from(number) > sent {
        let plural = if sent == 1 { "" } else { "s" };
        return Err(Problem::at(span, format!("there is no message `{name}`"))
            .label(format!("{sender} sends {sent} message{plural}, counted from 1"))
            .help("correct the number, or add a step that sends it."));
    }
    Ok(MessageId { sender: sender.into(), number })
}

fn allowed_fates(name: &str, value: &Spanned<DeValue<'_>>) -> Read<Vec<String>> {
    let words: Vec<_> = match value.get_ref().as_array() {
        Some(words) => words.iter().collect(),
        None => vec![value],
    };
    if words.is_empty() {
        return Err(Problem::at(value.span(), format!("no fate of `{name}` would be all right"))
            .label("this is empty")
            .help(format!("name one or more of {}.", list(FATES.iter().copied()))));
    }
    let fate = |word: &Spanned<DeValue<'_>>| match word.get_ref().as_str() {
        Some(known) if FATES.contains(&known) => Ok(known.to_string()),
        Some(unknown) => Err(Problem::at(word.span(), format!("unknown fate `{unknown}`"))
            .label("there is no such fate")
            .choices(unknown, FATES.iter().copied())),
        None => {
            Err(wrong_type(name, word.get_ref(), word.span(), "a fate or a list of fates", "\"replied\""))
        }
    };
    words.into_iter().map(fate).collect()
}
