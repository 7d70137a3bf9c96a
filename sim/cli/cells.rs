//! `--cell`: which cells of the scenarios' matrices are wanted.
//!
//! Whoever asks for a cell wants no scenario without a matrix. An axis or a value that no scenario has is a mistake,
//! and so is a choice that leaves nothing.

use std::sync::Arc;

use super::input::Problem;
use crate::scenario::{Cell, CellChoice, Scenario, nearest};

/// Those of `scenarios` that some of `choices` includes; all of them if there are none.
pub(super) fn chosen(
    scenarios: Vec<Arc<Scenario>>,
    choices: &[String],
) -> Result<Vec<Arc<Scenario>>, Vec<Problem>> {
    if choices.is_empty() {
        return Ok(scenarios);
    }
    let (mut wanted, mut problems) = (Vec::new(), Vec::new());
    let cells: Vec<&Cell> = scenarios.iter().filter_map(|scenario| scenario.cell.as_ref()).collect();
    for text in choices {
        match CellChoice::parse(text) {
            Ok(choice) => {
                problems.extend(mistake(&choice, &cells));
                wanted.push(choice);
            }
            Err(why) => {
                let help =
                    "name axes and values of a matrix, as in `--cell signal=SIGTERM,supervisor=systemd`.";
                problems.push(Problem::new(why, help));
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let is_wanted = |scenario: &Arc<Scenario>| {
        scenario.cell.as_ref().is_some_and(|cell| wanted.iter().any(|choice| choice.includes(cell)))
    };
    Ok(scenarios.into_iter().filter(is_wanted).collect())
}

/// Why a choice includes none of `cells`.
fn mistake(choice: &CellChoice, cells: &[&Cell]) -> Option<Problem> {
    if cells.is_empty() {
        let message = format!("there is no cell `{choice}`");
        return Some(Problem::new(message, "no scenario here has a matrix; leave `--cell` out."));
    }
    for (axis, values) in choice.parts() {
        let on_axis = || cells.iter().filter_map(move |cell| cell.on(axis));
        if on_axis().next().is_none() {
            let axes = cells.iter().flat_map(|cell| cell.places()).map(|(axis, _)| axis);
            return Some(Problem::new(format!("no matrix has the axis `{axis}`"), suggestion(axis, axes)));
        }
        for value in values {
            if !on_axis().any(|known| known == value) {
                let message = format!("the axis `{axis}` has no value `{value}`");
                return Some(Problem::new(message, suggestion(value, on_axis())));
            }
        }
    }
    if cells.iter().any(|cell| choice.includes(cell)) {
        return None;
    }
    let help = "each of its values is there, but not together: `--list` shows all cells.";
    Some(Problem::new(format!("there is no cell `{choice}`"), help))
}

fn suggestion<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in known {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    match nearest(word, words.iter().copied()) {
        Some(close) => format!("did you mean `{close}`?"),
        None => format!("there are `{}`.", words.join("`, `")),
    }
}
