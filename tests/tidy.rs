//! Tidiness: what a reader may rely on in every file. Rules that a formatter or a lint can keep are kept there.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;

use crate::test;

/// Where the sources are.
const SOURCES: [&str; 5] = ["model", "sim", "os", "tests", "benches"];
const LONGEST_FILE: usize = 600;
const LONGEST_FUNCTION: usize = 70;
/// What is not ours to keep tidy: build output, generated files, whatever hides.
const NOT_OURS: [&str; 1] = ["target"];

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("tidy: every source file says what it is for", every_source_file_says_what_it_is_for),
        test("tidy: no file is too long", no_file_is_too_long),
        test("tidy: no function is too long", no_function_is_too_long),
        test("tidy: no tabs and no blanks at the end of a line", no_tabs_and_no_trailing_blanks),
        test("tidy: links between documents resolve", links_between_documents_resolve),
        test("tidy: a function's end is found", a_functions_end_is_found),
    ]
}

fn every_source_file_says_what_it_is_for() {
    check(&sources(), |_, text| match text.starts_with("//! ") {
        true => vec![],
        false => vec!["does not begin with `//! ` and a sentence on what it is for".to_string()],
    });
}

fn no_file_is_too_long() {
    check(&sources(), |_, text| match text.lines().count() {
        0..=LONGEST_FILE => vec![],
        lines => vec![format!("has {lines} lines, which is more than {LONGEST_FILE}: it holds two rooms")],
    });
}

fn no_function_is_too_long() {
    check(&sources(), |_, text| {
        let long = functions(text).into_iter().filter(|(_, lines)| *lines > LONGEST_FUNCTION);
        long.map(|(name, lines)| format!("{name} has {lines} lines, which is more than {LONGEST_FUNCTION}"))
            .collect()
    });
}

fn no_tabs_and_no_trailing_blanks() {
    let mut files = sources();
    files.extend(found(Path::new("scenarios"), "toml"));
    files.extend(found(Path::new("."), "md"));
    check(&files, |_, text| {
        let untidy = |line: &str| line.contains('\t') || line.ends_with(' ');
        let lines = text.lines().enumerate().filter(|(_, line)| untidy(line));
        lines.map(|(index, _)| format!("line {}: a tab, or blanks at its end", index + 1)).collect()
    });
}

fn links_between_documents_resolve() {
    check(&found(Path::new("."), "md"), |path, text| {
        let folder = path.parent().unwrap_or(Path::new("."));
        let broken = relative_links(text).into_iter().filter(|link| !folder.join(link).exists());
        broken.map(|link| format!("links to {link}, which is not there")).collect()
    });
}

/// Fails with everything that `complaints` finds in any of the files.
fn check(files: &[PathBuf], complaints: impl Fn(&Path, &str) -> Vec<String>) {
    assert!(!files.is_empty(), "there is nothing to check");
    let mut all = Vec::new();
    for path in files {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        all.extend(
            complaints(path, &text).iter().map(|complaint| format!("{}: {complaint}", path.display())),
        );
    }
    assert!(all.is_empty(), "\n{}", all.join("\n"));
}

fn sources() -> Vec<PathBuf> {
    let folders = SOURCES.iter().map(Path::new).filter(|folder| folder.is_dir());
    folders.flat_map(|folder| found(folder, "rs")).collect()
}

/// The files below `folder` whose names end in `.extension`, sorted.
fn found(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a folder of the repository can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || NOT_OURS.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            files.extend(found(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path.strip_prefix(".").unwrap_or(&path).to_path_buf());
        }
    }
    files.sort();
    files
}

/// The functions of a formatted source file with their lengths in lines, head and end included. The formatter
/// puts the end of a function under its beginning.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<_> = text.lines().collect();
    let mut functions = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let end = format!("{}}}", &line[..indent]);
        // A declaration ends with a semicolon, a function on one line with its own brace.
        let head_end = lines[index..].iter().find(|line| line.ends_with(['{', ';', '}']));
        if head_end.is_none_or(|line| !line.ends_with('{')) {
            continue;
        }
        if let Some(length) = lines[index..].iter().position(|line| *line == end) {
            functions.push((name.to_string(), length + 1));
        }
    }
    functions
}

/// The name of the function whose head begins on this line.
fn function_name(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let is_modifier =
        |word: &str| word.starts_with("pub") || ["async", "const", "unsafe", "in"].contains(&word);
    let keyword = words.by_ref().find(|word| !is_modifier(word))?;
    let name = words.next().filter(|_| keyword == "fn")?;
    Some(name.split(['(', '<']).next().unwrap_or(name))
}

/// What a Markdown text links to in its own repository, without anchors.
fn relative_links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
    let files = targets.filter(|target| !target.contains("://") && !target.starts_with(['#', '<']));
    files.filter_map(|target| target.split('#').next()).map(str::to_string).collect()
}

fn a_functions_end_is_found() {
    let text = "fn short() { 1 }\n\nimpl X {\n    pub(super) async fn long<T>(\n        self,\n    ) {\n        \
                if y {\n        }\n    }\n\n    fn declared(&self) -> u8;\n}\n";
    assert_eq!(functions(text), [("long".to_string(), 6)]);
    assert_eq!(relative_links("[a](docs/a.md#x) [b](https://b) [c](#c)"), ["docs/a.md"]);
}
