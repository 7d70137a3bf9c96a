//! The tables of `docs/corpus.md`: every reported defect, the scenarios that reproduce it, and what shows it there.
//!
//! What stands between its marks is made from the scenarios, when the tests are run with `UPDATE_DOCS=1`, and compared
//! otherwise. Only the numbers of the defects, and what they are in a few words, are written down here.

use std::collections::BTreeMap;
use std::fmt::Write;

use gatesim::scenario::Scenario;
use gatesim::verdict::Expected;
use libtest_mimic::Trial;

use crate::{corpus, test};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/corpus.md");
const END: &str = "<!-- end -->";

/// Of a defect that the list of numbers does not have.
const NO_NUMBER: &str = "-";

/// A reported defect: its number, what it is, and how the names of its scripts begin, with the number of the report that
/// says most about it. The longest beginning says whose a script is. Every defect of the list has scripts; one that no
/// simulator could show would have to say why here.
const DEFECTS: &[(&str, &str, &[&str])] = &[
    (
        "B-01",
        "A stop, or a restart, swallows the reply that is being written, and nobody is told",
        &["38836"],
    ),
    ("B-02", "What waits for a conversation to be quiet, or to come free, is lost at a restart", &["51620"]),
    (
        "B-03",
        "Messages behind a turn are acknowledged before they are durable, and thrown away at a stop",
        &["135880"],
    ),
    (
        "B-06",
        "A deferral ends with a restart by force, and what it cuts off is not taken up again",
        &["152696"],
    ),
    ("B-07", "A forced restart drains for no time at all", &["143233"]),
    ("B-08", "The drain does not count the turn that is at work", &["118147"]),
    (
        "B-11",
        "The programs that the model runs die first, and the drain has nothing left to wait for",
        &["140479"],
    ),
    ("B-12", "Who asks for a restart from a conversation never hears there what came of it", &["34580"]),
    ("B-13", "Peers that do not close keep the port, and the successor cannot have it", &["33149"]),
    (
        "B-14",
        "Two starters race, or another program has the port, and the loser is started again and again",
        &["75115", "28191"],
    ),
    ("B-17", "Lanes count a run of the generation before as at work, for ever", &["15177"]),
    ("B-18", "An order to restart that expires blocks every later one", &["79577"]),
    ("B-21", "The command line signals past the wait for work in hand", &["47711"]),
    ("B-25", "Several commands at once restart the gateway several times", &["33459"]),
    ("B-26", "Nobody says what came of a restart that had to wait", &["136387"]),
    ("B-27", "Records of tasks of a dead generation count as work in hand", &["143420"]),
    ("B-29", "Records of tasks that never began count as work in hand", &["76923"]),
    (
        "B-30",
        "A conversation counts as at work after its process died, and takes nothing any more",
        &["71263"],
    ),
    ("B-32", "A message counts as recovered when it is queued", &["128827"]),
    ("B-33", "What its sender stopped is taken for an interruption, and resumed", &["120315"]),
    ("B-34", "The answer of a resumed turn stays in the transcript", &["127339"]),
    ("B-36", "A turn that ran is run again by the next life", &["88015"]),
    ("B-37", "A message over which every life dies is resumed without end", &["96230"]),
    ("B-39", "The lock of the store outlives the generation that took it", &["77721"]),
    ("B-40", "The lock of a transcript outlives the generation that took it", &["16383"]),
    ("B-41", "A lock that names its finder's own process counts as held", &["49603"]),
    ("B-42", "Who wants a transcript waits for less time than it is held", &["86801"]),
    ("B-45", "The watchdog of a lock stands still with its holder", &["89673"]),
    ("B-47", "A store of no bytes is taken for an empty one, and written over", &["77783"]),
    ("B-49", "The tool beside the gateway and the gateway undo each other's changes", &["88210"]),
    ("B-50", "A torn last line is mended in memory only", &["10310"]),
    ("B-51", "A reply is sent again after a crash as if for the first time", &["29106"]),
    ("B-52", "What a platform did not take is tried again at starts only", &["23777"]),
    (
        "B-54",
        "A message that comes again, after a restart or under another name, is answered again",
        &["41195"],
    ),
    (
        "B-55",
        "A message's name is recorded before it is worked on, and a crash comes in between",
        &["38836-feishu-recorded-before-work"],
    ),
    ("B-56", "A stop forgets a platform's connection instead of closing it", &["52844"]),
    ("B-57", "Updates are confirmed before they are durable", &["30802"]),
    ("B-59", "A reply is sent before its channel is up", &["6917"]),
    (
        "B-61",
        "A subagent is tracked on a run that is dead, and its work is lost",
        &[
            "47711-tracked-on-a-dead-run",
            "47711-swept-away",
            "47711-answer-to-a-resume-is-late",
            "47711-search-finds-nothing",
            "47711-books-that-cannot-be-written",
        ],
    ),
    ("B-62", "A subagent's row is there before its conversation, and is deleted for that", &["98112"]),
    ("B-64", "A scheduled run that a restart interrupts is forgotten", &["60495"]),
    ("B-65", "A scheduled run is made a second time, since its outcome was recorded late", &["42640"]),
    ("B-67", "A part of the gateway is not told of the drain, and goes on taking work", &["43683"]),
    ("B-69", "A successor looks for its port once, after a fixed pause", &["33399"]),
    (
        "B-71",
        "A reload asks for a start while the old gateway is still there, and there is none",
        &["133647"],
    ),
    ("B-72", "A task that still runs cannot be started, and nobody looks", &["138833"]),
    (NO_NUMBER, "Of too many messages that wait one is dropped, or a line of it is left", &["115888"]),
    (
        NO_NUMBER,
        "The key of a message is forgotten, and who asks again is worked for again",
        &["135880-key-forgotten"],
    ),
    (NO_NUMBER, "A result that is half an hour old is announced no more", &["47711-announced-too-late"]),
    (NO_NUMBER, "What was left hours ago is taken up again", &["90817"]),
    (NO_NUMBER, "A message is known before it is taken, and passed over when it comes again", &["139341"]),
    (NO_NUMBER, "A subagent's result is announced three times at most, and then forgotten", &["15549"]),
    (NO_NUMBER, "A text is given up after five attempts, or sent without a record", &["15636"]),
    (NO_NUMBER, "Two generations poll one bot, and each takes what the other confirms", &["31107"]),
    (NO_NUMBER, "A bot begins where another one's updates ended", &["80653"]),
    (NO_NUMBER, "A text whose attempt was cut short is never sent again", &["90233"]),
];

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("corpus: each defect has a script, and each script a defect", each_defect_has_a_script),
        test("corpus: the tables in docs are up to date", the_tables_are_up_to_date),
    ]
}

/// The scripts of each defect by how their names begin, a matrix once for each of its files.
fn scripts() -> BTreeMap<String, Vec<Scenario>> {
    let mut scripts: BTreeMap<String, Vec<Scenario>> = BTreeMap::new();
    for scenario in corpus::bugs() {
        let name = scenario.path.file_name().expect("a file").to_string_lossy().into_owned();
        let beginnings = DEFECTS.iter().flat_map(|(.., beginnings)| *beginnings).copied();
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
    let beginnings = DEFECTS.iter().flat_map(|(.., beginnings)| *beginnings);
    let mut known: Vec<String> = beginnings.map(ToString::to_string).collect();
    with_script.sort_unstable();
    known.sort_unstable();
    assert_eq!(with_script, known, "the beginnings of the scripts' names, and those of the listed defects");
}

fn the_tables_are_up_to_date() {
    let written = std::fs::read_to_string(FILE).expect("a readable file");
    let made = with_table(&with_table(&written, "defects", &defects()), "corpus", &table());
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(FILE, made).expect("a writable file");
    } else {
        assert!(
            written == made,
            "docs/corpus.md is out of date: UPDATE_DOCS=1 cargo test --test gatesim corpus"
        );
    }
}

/// `written` with `table` in the place called `name`.
fn with_table(written: &str, name: &str, table: &str) -> String {
    let begin = format!("<!-- generated: {name} -->");
    let (before, rest) = written.split_once(&begin).expect("a mark where the table begins");
    let (_, after) = rest.split_once(END).expect("a mark where it ends");
    format!("{before}{begin}\n\n{table}\n{END}{after}")
}

/// Every defect in a few words, with its scripts.
fn defects() -> String {
    let mut table = "| Defect | What goes wrong | Scripts |\n| --- | --- | --- |\n".to_string();
    let scripts = scripts();
    for (defect, title, beginnings) in DEFECTS {
        let of_defect = beginnings.iter().filter_map(|beginning| scripts.get(*beginning)).flatten();
        let links = of_defect.map(|script| {
            let name = corpus::name(script);
            format!("[{}](../scenarios/{name}.toml)", name.trim_start_matches("bugs/"))
        });
        let links = links.collect::<Vec<_>>().join("<br>");
        let _ = writeln!(table, "| {defect} | {title} | {links} |");
    }
    table
}

fn table() -> String {
    let mut table =
        "| Defect | Report | Script | Red on | By |\n| --- | --- | --- | --- | --- |\n".to_string();
    let scripts = scripts();
    for (defect, _, beginnings) in DEFECTS {
        for script in beginnings.iter().filter_map(|beginning| scripts.get(*beginning)).flatten() {
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
