//! The table of `docs/corpus.md`: which reported defect is reproduced by which scenario, and what shows it.
//!
//! What stands between its marks is made from the scenarios, when the tests are run with `UPDATE_DOCS=1`, and compared
//! otherwise. Only the numbers of the defects are written down here.

use std::collections::BTreeMap;
use std::fmt::Write;

use gatesim::scenario::Scenario;
use gatesim::verdict::Expected;
use libtest_mimic::Trial;

use crate::{corpus, test};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/corpus.md");
const BEGIN: &str = "<!-- generated: corpus -->";
const END: &str = "<!-- end -->";

/// Of a defect that the list of numbers does not have.
const NO_NUMBER: &str = "-";

/// Each reported defect that is reproduced, by how the names of its scripts begin: with the number of the report that says
/// most about it. The longest beginning says whose a script is.
const DEFECTS: &[(&str, &str)] = &[
    ("B-01", "38836"),
    ("B-02", "51620"),
    ("B-03", "135880"),
    ("B-06", "152696"),
    ("B-07", "143233"),
    ("B-08", "118147"),
    ("B-11", "140479"),
    ("B-12", "34580"),
    ("B-13", "33149"),
    ("B-14", "75115"),
    ("B-17", "15177"),
    ("B-18", "79577"),
    ("B-21", "47711"),
    ("B-25", "33459"),
    ("B-26", "136387"),
    ("B-27", "143420"),
    ("B-29", "76923"),
    ("B-30", "71263"),
    ("B-32", "128827"),
    ("B-33", "120315"),
    ("B-34", "127339"),
    ("B-36", "88015"),
    ("B-37", "96230"),
    ("B-39", "77721"),
    ("B-40", "16383"),
    ("B-41", "49603"),
    ("B-42", "86801"),
    ("B-45", "89673"),
    ("B-47", "77783"),
    ("B-49", "88210"),
    ("B-50", "10310"),
    ("B-51", "29106"),
    ("B-52", "23777"),
    ("B-54", "41195"),
    ("B-55", "38836-feishu-recorded-before-work"),
    ("B-56", "52844"),
    ("B-57", "30802"),
    ("B-59", "6917"),
    ("B-61", "47711-tracked-on-a-dead-run"),
    ("B-61", "47711-swept-away"),
    ("B-61", "47711-answer-to-a-resume-is-late"),
    ("B-61", "47711-search-finds-nothing"),
    ("B-61", "47711-books-that-cannot-be-written"),
    ("B-62", "98112"),
    ("B-64", "60495"),
    ("B-65", "42640"),
    ("B-67", "43683"),
    ("B-69", "33399"),
    ("B-71", "133647"),
    ("B-72", "138833"),
    (NO_NUMBER, "115888"),
    (NO_NUMBER, "139341"),
    (NO_NUMBER, "15549"),
    (NO_NUMBER, "15636"),
    (NO_NUMBER, "31107"),
    (NO_NUMBER, "80653"),
    (NO_NUMBER, "90233"),
];

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("corpus: each defect has a script, and each script a defect", each_defect_has_a_script),
        test("corpus: the table in docs is up to date", the_table_is_up_to_date),
    ]
}

/// The scripts of each defect by how their names begin, a matrix once for each of its files.
fn scripts() -> BTreeMap<String, Vec<Scenario>> {
    let mut scripts: BTreeMap<String, Vec<Scenario>> = BTreeMap::new();
    for scenario in corpus::bugs() {
        let name = scenario.path.file_name().expect("a file").to_string_lossy().into_owned();
        let beginnings = DEFECTS.iter().map(|(_, beginning)| *beginning);
        let whose = beginnings.filter(|beginning| name.starts_with(beginning)).max_by_key(|it| it.len());
        let of_defect = scripts.entry(whose.unwrap_or(&name).to_string()).or_default();
        // The cells of a matrix say the same of the same profiles, or more.
        match of_defect.iter_mut().find(|known| known.path == scenario.path) {
            Some(known) => known.expect.outcomes.extend(scenario.expect.outcomes),
            None => of_defect.push(scenario),
        }
    }
    scripts
}

fn each_defect_has_a_script() {
    let mut with_script: Vec<String> = scripts().into_keys().collect();
    let mut known: Vec<String> = DEFECTS.iter().map(|(_, beginning)| beginning.to_string()).collect();
    with_script.sort_unstable();
    known.sort_unstable();
    assert_eq!(with_script, known, "the beginnings of the scripts' names, and those of the listed defects");
}

fn the_table_is_up_to_date() {
    let written = std::fs::read_to_string(FILE).expect("a readable file");
    let (before, rest) = written.split_once(BEGIN).expect("a mark where the table begins");
    let (_, after) = rest.split_once(END).expect("a mark where it ends");
    let made = format!("{before}{BEGIN}\n\n{}\n{END}{after}", table());
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(FILE, made).expect("a writable file");
    } else {
        assert!(
            written == made,
            "docs/corpus.md is out of date: UPDATE_DOCS=1 cargo test --test gatesim corpus"
        );
    }
}

fn table() -> String {
    let mut table =
        "| Defect | Report | Script | Red on | By |\n| --- | --- | --- | --- | --- |\n".to_string();
    let scripts = scripts();
    for (defect, beginning) in DEFECTS {
        for script in &scripts[*beginning] {
            let issue = script.issue.clone().unwrap_or_default();
            let name = corpus::name(script);
            let path = format!("[{}](../scenarios/{name}.toml)", script.name);
            for (profiles, invariants) in red_on(script) {
                let _ = writeln!(table, "| {defect} | {issue} | {path} | {profiles} | {invariants} |");
            }
        }
    }
    table
}

/// The profiles on which a script is red, together where it is red for the same.
fn red_on(script: &Scenario) -> Vec<(String, String)> {
    let quoted =
        |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let mut red: Vec<(Vec<String>, String)> = Vec::new();
    for (profile, expected) in &script.expect.outcomes {
        let Expected::Fail(invariants) = expected else { continue };
        let invariants = quoted(invariants);
        match red.iter_mut().find(|(_, same)| *same == invariants) {
            Some((profiles, _)) => profiles.push(profile.clone()),
            None => red.push((vec![profile.clone()], invariants)),
        }
    }
    red.into_iter().map(|(profiles, invariants)| (quoted(&profiles), invariants)).collect()
}
