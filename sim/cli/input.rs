//! Finding and reading the scenarios that the command line names.
//!
//! Everything is read before anything is run, and everything that is wrong is reported at once.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};

use crate::scenario::{Scenario, ScenarioError};

/// Something the command was given and cannot use.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub(super) enum Problem {
    /// A scenario file that cannot be used.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Scenario(#[from] ScenarioError),
    /// Something else.
    #[error("{message}")]
    Other {
        message: String,
        #[help]
        help: String,
    },
}

impl Problem {
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Other { message: message.into(), help: help.into() }
    }
}

/// The problem as people see it.
pub(super) fn render(problem: &Problem, color: bool) -> String {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let mut out = String::new();
    // No wrapping: it would break names at their hyphens. The terminal wraps.
    let rendered =
        GraphicalReportHandler::new_themed(theme).with_wrap_lines(false).render_report(&mut out, problem);
    match rendered {
        Ok(()) => out,
        Err(_) => format!("{problem}\n"),
    }
}

/// Reads the scenarios at `paths` and in the folders among them, each once, whatever ways lead to it: in the order
/// given, a folder's sorted by path.
pub(super) fn scenarios(paths: &[PathBuf]) -> Result<Vec<Arc<Scenario>>, Vec<Problem>> {
    let (mut scenarios, mut problems) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for path in paths {
        match files(path) {
            Ok(files) => {
                for file in files {
                    if !seen.insert(file.canonicalize().unwrap_or_else(|_| file.clone())) {
                        continue;
                    }
                    match Scenario::read(&file) {
                        Ok(cells) => scenarios.extend(cells.into_iter().map(Arc::new)),
                        Err(error) => problems.push(error.into()),
                    }
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(scenarios) } else { Err(problems) }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Problem> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut found = Vec::new();
    collect(path, &mut found).map_err(|error| {
        let message = format!("cannot list {}: {error}", path.display());
        Problem::new(message, "check the permissions of the folder and those below.")
    })?;
    if found.is_empty() {
        let message = format!("there is no scenario in {}", path.display());
        return Err(Problem::new(message, "scenarios are files whose names end in `.toml`."));
    }
    found.sort();
    Ok(found)
}

/// Links to folders are not followed, since they may lead in circles.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in folder.read_dir()? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") && !path.is_dir() {
            found.push(path);
        }
    }
    Ok(())
}
