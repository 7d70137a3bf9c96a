//! Files with a matrix, good and bad. Every bad one gives one error; the snapshot shows them as people see them.

use std::fmt::Write;
use std::path::Path;

use gateway::env::Signal;
use gateway::policy::HARDENED;

use crate::scenario::tests::render;
use crate::scenario::{Scenario, ScenarioError, SenderKind, Supervisor, Target, Verb};
use crate::verdict::Expected;

fn parse(text: &str) -> Result<Vec<Scenario>, ScenarioError> {
    Scenario::parse_all(Path::new("case.toml"), text)
}

#[track_caller]
fn good(text: &str) -> Vec<Scenario> {
    parse(text).unwrap_or_else(|error| panic!("{}\n{text}", render(&error)))
}

/// A file with these axes, in which a step uses `${signal}`.
fn with_axes(axes: &str) -> String {
    format!("name = \"x\"\n[matrix]\n{axes}\n{STEP}")
}

const STEP: &str = "[[steps]]\nat = \"1s\"\ndo = \"signal\"\nsignal = \"${signal}\"\n";

/// A file with two axes, both used, and what follows.
fn two_axes(rest: &str) -> String {
    format!(
        "name = \"x\"\n[matrix]\nsignal = [\"SIGTERM\", \"SIGINT\"]\nkind = [\"systemd\", \"launchd\"]\n\
         [gateway.supervisor]\nkind = \"${{kind}}\"\n{STEP}{rest}\n"
    )
}

#[test]
fn every_combination_is_a_scenario_of_its_own() {
    let cells = good(&two_axes(""));
    let names: Vec<_> = cells.iter().map(Scenario::called).collect();
    assert_eq!(
        names,
        [
            "case.toml[signal=SIGTERM,kind=systemd]",
            "case.toml[signal=SIGTERM,kind=launchd]",
            "case.toml[signal=SIGINT,kind=systemd]",
            "case.toml[signal=SIGINT,kind=launchd]",
        ],
        "the last axis changes fastest"
    );
    let last = &cells[3];
    assert_eq!(last.steps[0].verb, Verb::Signal { signal: Signal::Interrupt, process: Target::Gateway });
    assert!(matches!(last.gateway.supervisor, Supervisor::Launchd(_)));
    assert_eq!((last.steps[0].line, cells[0].steps[0].line), (7, 7), "as in the file");
    assert_eq!(good("name = \"x\"")[0].cell, None);
}

#[test]
fn a_placeholder_stands_for_a_word_a_number_a_table_or_a_part_of_a_text() {
    let cells = good(
        r#"
name = "${count} of ${kind} on ${unit}, $${count}"
[matrix]
count = [1, 300]
kind = ["patient", "leaves"]
[matrix.unit]
quick = { kind = "systemd", stop-timeout = "5s" }
none = { kind = "none" }
[matrix.fates]
told = "told"
either = ["told", "replied"]
[gateway]
supervisor = "${unit}"
[senders.ann]
kind = "${kind}"
[[steps]]
at = "1s"
do = "send"
from = "ann"
text = "hello ${kind}"
count = "${count}"
every = "1${count}ms"
[expect.fates]
"ann#1" = "${fates}"
"#,
    );
    assert_eq!(cells.len(), 16);
    let cell = &cells[15];
    assert_eq!(
        cell.cell.as_ref().expect("a cell").to_string(),
        "count=300,kind=leaves,unit=none,fates=either"
    );
    assert_eq!(cell.name, "300 of leaves on none, ${count}");
    assert_eq!(cell.gateway.supervisor, Supervisor::None);
    assert_eq!(cell.senders["ann"].kind, SenderKind::Leaves);
    let Verb::Send { text, count, every, .. } = &cell.steps[0].verb else { panic!("it sends") };
    assert_eq!((text.as_str(), *count, every.as_millis()), ("hello leaves", 300, 1_300));
    assert_eq!(cell.expect.fates[0], ["told", "replied"]);
    let Supervisor::Systemd(unit) = &cells[0].gateway.supervisor else { panic!("systemd") };
    assert_eq!(unit.stop_timeout.as_secs(), 5);
}

#[test]
fn cells_may_expect_something_else_or_be_skipped() {
    let outcomes = |rest: &str| {
        let cells = good(&two_axes(rest)).into_iter();
        let outcome = |cell: Scenario| {
            let expected = cell.expect.under("openclaw-2026.3.2").to_string();
            (cell.cell.expect("a cell").to_string(), cell.expect.outcomes.len(), expected)
        };
        cells.map(outcome).collect::<Vec<_>>()
    };
    let found = outcomes(
        "[[cells]]\nwhen = { signal = \"SIGTERM\" }\noutcomes = { \"openclaw-2026.3.2\" = \"fail: no-duplicate\" }\n\
         [[cells]]\nwhen = { kind = [\"launchd\"], signal = [\"SIGTERM\", \"SIGINT\"] }\n\
         outcomes = { \"openclaw-2026.3.2\" = \"inconclusive\" }\n\
         [[cells]]\nwhen = { signal = \"SIGINT\", kind = \"launchd\" }\nskip = \"the same as systemd\"",
    );
    let expected = [
        ("signal=SIGTERM,kind=systemd", 2, "fail: no-duplicate"),
        ("signal=SIGTERM,kind=launchd", 2, "inconclusive"),
        ("signal=SIGINT,kind=systemd", 1, "pass"),
    ];
    let expected =
        expected.map(|(cell, outcomes, expected)| (cell.to_string(), outcomes, expected.to_string()));
    assert_eq!(found, expected, "later entries replace earlier ones, and hardened is to pass as always");
}

#[test]
fn a_cell_adds_to_what_the_file_expects() {
    let cells = good(&two_axes(
        "[expect]\noutcomes = { hardened = \"inconclusive\" }\n\
         [[cells]]\nwhen = { kind = \"launchd\" }\noutcomes = { \"planted:always-ready\" = \"pass\" }",
    ));
    assert_eq!(cells[1].expect.outcomes.len(), 2);
    assert_eq!(cells[1].expect.under(HARDENED), Expected::Inconclusive);
    assert_eq!(cells[0].expect.outcomes.len(), 1);
}

const BAD_AXES: &[(&str, &str)] = &[
    ("no axis", ""),
    ("no values", "signal = []"),
    ("neither list nor table", "signal = \"SIGTERM\""),
    ("value twice", "signal = [\"SIGTERM\", \"SIGTERM\"]"),
    ("value that cannot be called", "signal = [\"SIGTERM,SIGINT\"]"),
    ("table without a name", "signal = [{ kind = \"systemd\" }]"),
    ("axis that cannot be called", "Signal = [\"SIGTERM\"]"),
    ("axis that is not used", "signal = [\"SIGTERM\"]\npeer = [\"bare\", \"silent\"]"),
    ("placeholder in a value", "signal = [\"SIGTERM\", \"${signal}\"]"),
    ("bad value of one cell", "signal = [\"SIGTERM\", \"SIGTREM\"]"),
    ("number for a word", "signal = [\"SIGTERM\", 15]"),
];

const BAD_FILES: &[(&str, &str)] = &[
    ("not a table", "name = \"x\"\nmatrix = [\"SIGTERM\"]\n"),
    ("unknown placeholder", "name = \"x\"\nabout = \"${signa}\"\n[matrix]\nsignal = [\"SIGTERM\"]\n"),
    ("open placeholder", "name = \"x\"\nabout = \"a ${signal\"\n[matrix]\nsignal = [\"SIGTERM\"]\n"),
    ("placeholder in a named value", "name = \"${a}\"\n[matrix.a]\nx = { kind = \"${b}\" }\n"),
    ("cells without a matrix", "name = \"x\"\n[[cells]]\nskip = \"why\"\n"),
    (
        "too many cells",
        "name = \"x\"\n[matrix]\na = [0,1,2,3,4,5,6,7,8,9]\nb = [0,1,2,3,4,5,6,7,8,9]\nc = [0,1,2,3,4,5,6,7,8,9,10]\n",
    ),
    (
        "key of another kind in some cells",
        "name = \"x\"\n[matrix]\nkind = [\"systemd\", \"launchd\", \"none\"]\n[gateway.supervisor]\nkind = \"${kind}\"\n\
         restart = \"always\"\nrestart-delay = \"1s\"\n",
    ),
    (
        "wrong inside of a value",
        "name = \"x\"\n[matrix.unit]\na = { kind = \"systemd\" }\nb = { kind = \"systemd\", restart = \"allways\" }\n\
         [gateway]\nsupervisor = \"${unit}\"\n",
    ),
    ("wrong in every cell", "name = \"x ${a}\"\nstepps = []\n[matrix]\na = [1, 2]\n"),
];

const BAD_CELLS: &[(&str, &str)] = &[
    ("no list", "[cells]\nwhen = {}"),
    ("unknown axis", "[[cells]]\nwhen = { signals = \"SIGTERM\" }\nskip = \"why\""),
    ("unknown value", "[[cells]]\nwhen = { signal = [\"SIGTERM\", \"SIGUSR1\"] }\nskip = \"why\""),
    ("no value", "[[cells]]\nwhen = { signal = [] }\nskip = \"why\""),
    ("without condition", "[[cells]]\nskip = \"why\""),
    ("says nothing", "[[cells]]\nwhen = { signal = \"SIGTERM\" }"),
    ("skipped without a reason", "[[cells]]\nwhen = { signal = \"SIGTERM\" }\nskip = true"),
    (
        "skipped with an outcome",
        "[[cells]]\nwhen = { signal = \"SIGTERM\" }\nskip = \"why\"\noutcomes = { hardened = \"pass\" }",
    ),
    ("all skipped", "[[cells]]\nwhen = { signal = [\"SIGTERM\", \"SIGINT\"] }\nskip = \"why\""),
    ("unknown outcome", "[[cells]]\nwhen = { signal = \"SIGTERM\" }\noutcomes = { hardened = \"passes\" }"),
    (
        "unknown placeholder in a cell",
        "[[cells]]\nwhen = { signal = \"SIGTERM\" }\noutcomes = { hardened = \"${o}\" }",
    ),
];

#[test]
fn every_bad_matrix_has_one_clear_error() {
    let axes = BAD_AXES.iter().map(|(case, text)| (*case, with_axes(text)));
    let files = BAD_FILES.iter().map(|(case, text)| (*case, (*text).to_string()));
    let cells = BAD_CELLS.iter().map(|(case, text)| (*case, two_axes(text)));
    let mut shown = String::new();
    for (case, text) in axes.chain(files).chain(cells) {
        let error = parse(&text).expect_err(case);
        let _ = writeln!(shown, "== {case}\n{}", render(&error));
    }
    insta::with_settings!({ snapshot_path => "../../../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("matrix_errors", shown);
    });
}

#[test]
fn a_large_matrix_is_read_within_its_limits() {
    let values: Vec<_> = (0..31).map(|number| number.to_string()).collect();
    let list = values.join(", ");
    let file = |more: &str| format!("name = \"${{a}} ${{b}}\"\n[matrix]\na = [{list}]\nb = [{list}{more}]\n");
    assert_eq!(good(&file("")).len(), 961);
    assert!(parse(&file(", 31, 32")).is_err());
    let wide: Vec<_> = (0..65).map(|number| number.to_string()).collect();
    let error =
        parse(&format!("name = \"${{a}}\"\n[matrix]\na = [{}]\n", wide.join(", "))).expect_err("too wide");
    assert_eq!(error.to_string(), "the axis `a` has 65 values");
}

#[test]
fn no_garbage_makes_the_reader_panic() {
    let whole = two_axes(
        "[[cells]]\nwhen = { signal = \"SIGTERM\" }\noutcomes = { hardened = \"pass\" }\nfates = {}",
    );
    for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
        for text in
            [whole[..end].to_string(), format!("{}${{", &whole[..end]), format!("{}\"]", &whole[..end])]
        {
            if let Err(error) = parse(&text) {
                render(&error);
            }
        }
    }
}
