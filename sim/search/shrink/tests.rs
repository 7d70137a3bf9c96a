//! A large scenario that fails becomes a small one that fails in the same way.

use super::*;

const LARGE: &str = r#"
name = "a lot happens"
about = "Most of it does not matter."

[gateway]
startup = "20ms..300ms"
drain-budget = "120s"

[provider]
first-token = "500ms..1500ms"
tokens = 40

[probe]
every = "1s"

[senders.ann]
kind = "retrying"

[senders.bob]

[senders.cyd]
kind = "never-closes"

[[steps]]
at = "1s..2s"
do = "send"
from = "ann"
text = "question"
count = 5
every = "3s"

[[steps]]
at = "1500ms"
do = "send"
from = "bob"
text = "question"
count = 3
every = "2s"

[[steps]]
at = "2s"
do = "send"
from = "cyd"
text = "question"

[[steps]]
at = "3s"
do = "freeze"
for = "200ms..400ms"

[[steps]]
at = "5s"
do = "partition"
between = ["clients", "gateway"]
for = "300ms"

[[steps]]
at = "9100ms"
do = "service-restart"

[[steps]]
at = "14s"
do = "signal"
signal = "SIGUSR1"

[expect]
outcomes = { "openclaw-2026.3.2" = "fail: no-silent-drop" }
"#;

#[test]
fn a_large_scenario_becomes_small_and_fails_in_the_same_way() {
    let path = Path::new("large.toml");
    let draft = Draft::new(LARGE.parse().expect("is TOML"));
    let scenario = draft.scenario(path).expect("is a scenario");
    let profile = "openclaw-2026.3.2";
    let seed = (1..50).find(|seed| crate::run(&scenario, profile, *seed).verdict == Verdict::Fail);
    let seed = seed.expect("some seed fails");
    let result = crate::run(&scenario, profile, seed);
    let signature = Signature::of(&result, &scenario).expect("it fails");
    let task =
        Task { draft, path, profile, seed, signature: signature.clone(), most_runs: 2_000, other_seeds: 2 };

    let shrunk = shrink(&crate::run, task);

    let text = shrunk.draft.to_text();
    assert!(shrunk.draft.steps().len() <= 2, "{text}");
    assert!(text.contains("on "), "anchored: {text}");
    let failing = seeds_failing(&crate::run, &shrunk.draft, path, profile, &signature);
    assert!(failing.expect("is a scenario") > 0, "{text}");
    let small = shrunk.draft.scenario(path).expect("is a scenario");
    let again = crate::run(&small, profile, shrunk.seed);
    assert!(Signature::all_of(&again, &small).contains(&signature), "{text}");
    assert_eq!(small.senders.len(), 1, "{text}");
}
