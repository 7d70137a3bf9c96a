//! What the daemon says to a command line that it cannot follow.
//!
//! Nothing here gets as far as the gateway itself.

use std::process::{Command, Output};

fn gateway(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gateway")).args(arguments).output().expect("the daemon starts")
}

#[test]
fn an_unknown_profile_is_a_configuration_error_that_names_the_known_ones() {
    let ended = gateway(&["--config", "none.json", "--profile", "hardend"]);
    assert_eq!(ended.status.code(), Some(78));
    let said = String::from_utf8_lossy(&ended.stderr);
    for part in ["\"hardend\"", "profiles: hardened, openclaw-2026.3.2", "planted:always-ready"] {
        assert!(said.contains(part), "{part} is missing in: {said}");
    }
}

#[test]
fn usage_errors_end_with_2() {
    for wrong in
        [&[][..], &["--config"], &["--config", "x", "--log", "xml"], &["--config", "x", "--bind", "here"]]
    {
        assert_eq!(gateway(wrong).status.code(), Some(2), "{wrong:?}");
    }
}
