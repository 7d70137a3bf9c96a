//! A whole scenario from one seed, swarm style: each seed leaves out most of what there is, and mixes what is left in its
//! own proportions, so that what hides what differs from seed to seed.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::cast::Cast;
use super::dice::{Dice, Die};
use super::faults::{FAULTS, Fault, doing};
use super::moments::{self, Moment, Past};
use super::themes::Themes;
use super::weights::Weights;
use super::{people, setup};
use crate::search::Draft;
use crate::search::sweep::undemanding;

/// A scenario that was drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// The scenario.
    pub draft: Draft,
    /// Everything that was drawn, in one line.
    pub line: String,
}

/// So many troubles at most.
const MOST_TROUBLES: u64 = 9;
/// So many deaths at most: a supervisor may give up on who ends more often.
const MOST_DEATHS: u64 = 8;

/// Invents a world and its troubles.
pub fn invent(seed: u64, weights: &Weights) -> Drawn {
    let dice = Dice::new(seed);
    let mut words = Vec::new();
    let mut draft = Draft::new(Table::new());
    draft.table_mut().insert("name".into(), Value::from(format!("Seed {seed}")));
    let themes = Themes::draw(&dice.of("themes"));
    words.push(themes.words());
    let pace = setup::draw(&dice, &themes, weights, &mut draft, &mut words);
    people::draw(&dice, &themes, pace, &mut draft, &mut words);
    let cast = Cast::of(&draft);
    trouble(&dice, &themes, weights, &cast, &mut draft, &mut words);
    Drawn { draft, line: format!("seed {seed}: {}", words.join(", ")) }
}

/// Adds this seed's troubles to a scenario that somebody wrote. What it expected by itself does not count any more: a
/// disturbance may change the fate of a message, and all are fine but bad ones.
pub fn vary(seed: u64, base: &Draft, profile: &str, weights: &Weights) -> Drawn {
    let mut words = Vec::new();
    let mut draft = undemanding(base, profile);
    let name = base.table().get("name").and_then(Value::as_str).unwrap_or("A scenario");
    words.push(format!("\"{name}\""));
    draft.table_mut().insert("name".into(), Value::from(format!("{name}, seed {seed}")));
    let cast = Cast::of(&draft);
    let dice = Dice::new(seed);
    trouble(&dice, &Themes::draw(&dice.of("themes")), weights, &cast, &mut draft, &mut words);
    Drawn { draft, line: format!("seed {seed}: {}", words.join(", ")) }
}

/// Adds this seed's troubles to a world.
fn trouble(
    dice: &Dice,
    themes: &Themes,
    weights: &Weights,
    cast: &Cast,
    draft: &mut Draft,
    words: &mut Vec<String>,
) {
    let (die, moments) = (dice.of("faults"), dice.of("moments"));
    let choices = choices(&die, themes, weights);
    let mut past = Past::default();
    let mut steps = Vec::new();
    if die.chance(50) {
        let (word, step) = moments::end(&moments, cast.is_supervised);
        words.push(format!("{word} (at an instant)"));
        steps.push(step);
        past.note(word);
    }
    let mut last: Option<Moment> = None;
    let mut once = BTreeSet::new();
    for _ in 0..die.between(2, MOST_TROUBLES) {
        let Some(fault) = die.weighted(&choices) else { break };
        // Who is not started again by itself may die where somebody can tell, and not again before he is back.
        if cast.is_supervised && !cast.is_revived && moments::is_death(fault.word) && fault.word != "kill" {
            continue;
        }
        if moments::comes_once(fault.word) && !once.insert(fault.word) {
            continue;
        }
        let Some(mut trouble) = (fault.trouble)(cast, &die) else { continue };
        trouble.extend(revival(cast, &die, fault.word));
        if past.deaths >= MOST_DEATHS {
            break;
        }
        // Some come with the one before, so that they meet.
        let (said, moment) = match &last {
            Some(last) if moments.chance(25) => ("at once", last.later(moments.between(0, 3_000))),
            _ => {
                let (aim, moment) = Moment::draw(&moments, weights, cast, fault.word, &past);
                (aim.word(), moment)
            }
        };
        let most = (MOST_DEATHS - past.deaths).min(6);
        let times = if cast.is_revived && moments::may_recur(fault.word) && die.chance(25) {
            die.between(2, most)
        } else {
            1
        };
        words.push(match times {
            0 | 1 => format!("{} ({said})", fault.word),
            _ => format!("{times} times {} ({said})", fault.word),
        });
        let mut at = moment.clone();
        let pause = *moments.pick(&[3_000, 10_000, 30_000]);
        for _ in 0..times.max(1) {
            past.note(fault.word);
            steps.extend(at.steps(trouble.clone()));
            at = at.next().unwrap_or_else(|| at.later(pause));
        }
        last = Some(moment);
    }
    let table = draft.table_mut();
    if let Value::Array(all) = table.entry("steps").or_insert_with(|| Value::Array(Vec::new())) {
        all.extend(steps.into_iter().map(Value::Table));
        if let Some(limit) = moments::storm_limit(all) {
            table.entry("storm-limit").or_insert_with(|| limit.into());
        }
    }
}

/// Where nobody else does, whoever keeps the gateway starts again what ended, most of the time.
fn revival(cast: &Cast, die: &Die, word: &str) -> Option<(u64, Table)> {
    let stays_down = moments::is_death(word) || !cast.is_supervised && matches!(word, "SIGTERM" | "SIGINT");
    let (verb, percent) =
        if cast.is_supervised { ("service-start", 100) } else { ("start-second-instance", 80) };
    (!cast.is_revived && stays_down && die.chance(percent))
        .then(|| (die.between(1_000, 60_000), doing(verb, &[])))
}

/// This seed's own subset, and its own proportions.
fn choices(die: &Die, themes: &Themes, weights: &Weights) -> Vec<(&'static Fault, u64)> {
    let share = |fault: &Fault| fault.themes.iter().filter(|theme| themes.has(**theme)).count() as u64;
    let weighed = FAULTS.iter().filter_map(|fault| {
        let share = share(fault);
        let percent = if share > 0 { 75 } else { 25 };
        die.chance(percent)
            .then(|| (fault, weights.of_fault(fault.word) * (1 + 4 * share) * die.between(1, 4)))
    });
    weighed.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_seed_is_a_scenario_of_its_own_and_always_the_same() {
        let mut texts = std::collections::BTreeSet::new();
        for seed in 1..=500 {
            let drawn = invent(seed, &Weights::default());
            assert_eq!(drawn, invent(seed, &Weights::default()));
            let text = drawn.draft.to_text();
            if let Err(error) = drawn.draft.scenario(Path::new("seed.toml")) {
                panic!("seed {seed} is no scenario: {error:?}\n{text}");
            }
            assert!(texts.insert(text));
        }
    }

    #[test]
    fn some_seed_draws_each_fault() {
        let lines: Vec<_> = (1..=1_500).map(|seed| invent(seed, &Weights::default()).line).collect();
        for fault in FAULTS {
            assert!(lines.iter().any(|line| line.contains(fault.word)), "nobody draws {}", fault.word);
        }
    }
}
