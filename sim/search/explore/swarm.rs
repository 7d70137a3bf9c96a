//! A whole scenario from one seed, swarm style: each seed leaves out most of what there is, and mixes what is left in its
//! own proportions, so that what hides what differs from seed to seed.

use toml::{Table, Value};

use super::cast::{self, Cast};
use super::dice::Dice;
use super::faults::FAULTS;
use super::moments;
use super::weights::Weights;
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

/// So many steps of trouble at most: a supervisor may give up on who ends more often.
const MOST_FAULTS: u64 = 6;

/// Invents a world and its troubles.
pub fn invent(seed: u64, weights: &Weights) -> Drawn {
    let dice = Dice::new(seed);
    let mut words = Vec::new();
    let mut draft = Draft::new(Table::new());
    draft.table_mut().insert("name".into(), Value::from(format!("Seed {seed}")));
    let cast = cast::draw(&dice, weights, &mut draft, &mut words);
    trouble(&dice, weights, &cast, &mut draft, &mut words);
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
    trouble(&Dice::new(seed), weights, &cast, &mut draft, &mut words);
    Drawn { draft, line: format!("seed {seed}: {}", words.join(", ")) }
}

/// Adds this seed's troubles to a world.
fn trouble(dice: &Dice, weights: &Weights, cast: &Cast, draft: &mut Draft, words: &mut Vec<String>) {
    let die = dice.of("faults");
    // This seed's own subset, and its own proportions.
    let choices: Vec<_> = FAULTS
        .iter()
        .filter(|_| die.chance(30))
        .map(|fault| (fault, weights.of_fault(fault.word) * die.between(1, 4)))
        .collect();
    let moments = dice.of("moments");
    let mut steps = Vec::new();
    let mut has_an_end = false;
    if die.chance(50) {
        let (word, step) = moments::end(&moments, cast.is_supervised);
        words.push(format!("{word} (at an instant)"));
        steps.push(step);
        has_an_end = true;
    }
    for _ in 0..die.between(0, MOST_FAULTS - 1) {
        let Some(fault) = die.weighted(&choices) else { break };
        let Some(step) = (fault.step)(cast, &die) else { continue };
        let aim = moments::aim(&moments, weights, &cast.supervisor, fault, has_an_end);
        has_an_end |= moments::is_an_end(fault.word);
        words.push(format!("{} ({})", fault.word, aim.phase));
        steps.push(moments::timed(&moments, aim, step));
    }
    let entry = draft.table_mut().entry("steps").or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(all) = entry {
        all.extend(steps.into_iter().map(Value::Table));
    }
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
        let lines: Vec<_> = (1..=500).map(|seed| invent(seed, &Weights::default()).line).collect();
        for fault in FAULTS {
            assert!(lines.iter().any(|line| line.contains(fault.word)), "nobody draws {}", fault.word);
        }
    }
}
