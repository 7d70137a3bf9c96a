//! What stands on the command line of `restart`, and what of it cannot stand together.
//!
//! Pure. The words of the refusals are those of commit 103cdd9, where it has some.

use std::time::Duration;

use crate::lifecycle::restart::Patience;

/// What was asked for with `restart`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartOptions {
    /// `--safe`: interrupt nothing.
    pub safe: bool,
    /// `--force`: wait for nothing.
    pub force: bool,
    /// `--wait DURATION`: how long to wait for work in hand, as it was typed.
    pub wait: Option<String>,
    /// `--reason TEXT`: why, for the log and whoever is told what came of it.
    pub reason: Option<String>,
    /// `--preflight`: only say what a restart now would interrupt.
    pub preflight: bool,
    /// `--json`: the answer is one JSON object.
    pub json: bool,
}

/// What is wrong with a command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// No command, or one that is not known.
    #[error("expected the command \"restart\"{}", .0.as_ref().map_or_else(String::new, |found| format!(", not {found:?}")))]
    Command(Option<String>),
    /// An argument that is not known.
    #[error(
        "unexpected argument {0:?}; restart takes --safe, --force, --wait DURATION, --reason TEXT, --preflight and --json"
    )]
    Unexpected(String),
    /// One that this version did not know.
    #[error("unexpected argument {0:?}; a command line of this version takes none but --json")]
    UnexpectedThen(&'static str),
    /// `--wait` without a duration.
    #[error("--wait needs a duration such as 10s, 5m or 0")]
    NoDuration,
    /// `--reason` without a text.
    #[error("--reason needs a text")]
    NoReason,
    /// `--wait` with something else.
    #[error(
        "invalid --wait {0:?}: a duration is a number of milliseconds, or a number with ms, s, m, h or d"
    )]
    BadDuration(String),
    /// Who wants to wait for everything cannot want to wait for nothing.
    #[error("--safe cannot be combined with --force; omit --safe to force restart now")]
    SafeAndForce,
    /// How long a safe restart waits is the gateway's to say.
    #[error("--safe cannot be combined with --wait; safe restart uses gateway deferral")]
    SafeAndWait,
    /// Who wants to wait for nothing cannot want to wait for a while.
    #[error("--force cannot be combined with --wait; omit --force to wait for active work")]
    ForceAndWait,
    /// Who asks what a restart would interrupt does not ask for one.
    #[error("--preflight cannot be combined with {0}; it only says what a restart now would interrupt")]
    PreflightAnd(&'static str),
}

impl RestartOptions {
    /// Reads a command line, from the command on.
    ///
    /// Errors: what is wrong with one argument. What cannot stand together is for [`RestartOptions::check`].
    pub fn parse(arguments: &[String]) -> Result<Self, UsageError> {
        let mut arguments = arguments.iter().map(String::as_str);
        match arguments.next() {
            Some("restart") => {}
            other => return Err(UsageError::Command(other.map(str::to_string))),
        }
        let mut options = Self::default();
        while let Some(argument) = arguments.next() {
            match argument {
                "--safe" => options.safe = true,
                "--force" => options.force = true,
                "--json" => options.json = true,
                "--wait" => {
                    options.wait = Some(arguments.next().ok_or(UsageError::NoDuration)?.to_string());
                }
                "--preflight" => options.preflight = true,
                "--reason" => {
                    options.reason = Some(arguments.next().ok_or(UsageError::NoReason)?.to_string());
                }
                other => match other.split_once('=') {
                    Some(("--wait", duration)) => options.wait = Some(duration.to_string()),
                    Some(("--reason", text)) => options.reason = Some(text.to_string()),
                    _ => return Err(UsageError::Unexpected(other.to_string())),
                },
            }
        }
        Ok(options)
    }

    /// Whether this can be asked for, and how long to wait, if that was said.
    ///
    /// Errors: two options that cannot stand together, or a duration that is none.
    pub fn check(&self) -> Result<Option<Patience>, UsageError> {
        if let Some(flag) = self.of_a_request().filter(|_| self.preflight) {
            return Err(UsageError::PreflightAnd(flag));
        }
        if self.reason.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
            return Err(UsageError::NoReason);
        }
        match (self.safe, self.force, &self.wait) {
            (true, true, _) => Err(UsageError::SafeAndForce),
            (true, _, Some(_)) => Err(UsageError::SafeAndWait),
            (_, true, Some(_)) => Err(UsageError::ForceAndWait),
            (_, _, Some(typed)) => {
                parse_duration(typed).map(Some).ok_or_else(|| UsageError::BadDuration(typed.clone()))
            }
            (_, _, None) => Ok(None),
        }
    }
}

impl RestartOptions {
    /// The flag that says how urgent a restart is.
    pub(super) fn urgency(&self) -> Option<&'static str> {
        let flags = [(self.safe, "--safe"), (self.force, "--force"), (self.wait.is_some(), "--wait")];
        flags.into_iter().find(|(is_set, _)| *is_set).map(|(_, flag)| flag)
    }

    /// A flag that says something of the restart that is asked for.
    fn of_a_request(&self) -> Option<&'static str> {
        self.urgency().or(self.reason.as_ref().map(|_| "--reason"))
    }

    /// A flag that the command line of history did not know.
    pub(super) fn unknown_to_history(&self) -> Option<&'static str> {
        self.of_a_request().or(self.preflight.then_some("--preflight"))
    }
}

/// A number of milliseconds, or of another unit that it names; nothing at all is without limit.
fn parse_duration(typed: &str) -> Option<Patience> {
    const UNITS: [(&str, u64); 5] =
        [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let typed = typed.trim().to_ascii_lowercase();
    let digits = typed.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &typed[digits.len()..];
    let ms_per_unit = match unit {
        "" => 1,
        unit => UNITS.iter().find(|(name, _)| *name == unit)?.1,
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u64>().ok()).flatten()
    };
    let scale = 10_u64.checked_pow(u32::try_from(part.len()).ok()?)?;
    let parts = number(part)?.checked_mul(ms_per_unit)? / scale;
    let ms = number(whole)?.checked_mul(ms_per_unit)?.checked_add(parts)?;
    Some(if ms == 0 { Patience::Unlimited } else { Patience::AtMost(Duration::from_millis(ms)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<RestartOptions, UsageError> {
        RestartOptions::parse(&line.split_whitespace().map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn durations_are_milliseconds_or_name_their_unit() {
        let ms = |ms| Some(Patience::AtMost(Duration::from_millis(ms)));
        let day = 86_400_000;
        for (typed, expected) in [
            ("1500", ms(1_500)),
            ("10s", ms(10_000)),
            ("1.5s", ms(1_500)),
            ("5M", ms(300_000)),
            ("250ms", ms(250)),
            ("2h", ms(7_200_000)),
            ("1d", ms(day)),
            ("0", Some(Patience::Unlimited)),
            ("0s", Some(Patience::Unlimited)),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1w", None),
            ("1.s", None),
            ("1e3", None),
            ("99999999999999999999", None),
            ("999999999999999999d", None),
        ] {
            assert_eq!(parse_duration(typed), expected, "{typed:?}");
        }
    }

    #[test]
    fn what_cannot_stand_together_is_refused() {
        let check = |line: &str| parse(line).and_then(|options| options.check().map(|_| ()));
        for good in [
            "",
            "--safe",
            "--force",
            "--wait 10s",
            "--wait=0",
            "--json",
            "--safe --json",
            "--reason=x --force",
        ] {
            assert_eq!(check(&format!("restart {good}")), Ok(()), "{good}");
        }
        assert_eq!(check("restart --safe --force"), Err(UsageError::SafeAndForce));
        assert_eq!(check("restart --force --safe --wait 1"), Err(UsageError::SafeAndForce));
        assert_eq!(check("restart --safe --wait 10s"), Err(UsageError::SafeAndWait));
        assert_eq!(check("restart --wait 10s --force"), Err(UsageError::ForceAndWait));
        assert_eq!(check("restart --wait soon"), Err(UsageError::BadDuration("soon".into())));
        assert_eq!(check("restart --wait"), Err(UsageError::NoDuration));
        assert_eq!(check("restart --reason"), Err(UsageError::NoReason));
        assert_eq!(check("restart --reason="), Err(UsageError::NoReason));
        assert_eq!(check("restart --preflight --json"), Ok(()));
        assert_eq!(check("restart --preflight --force"), Err(UsageError::PreflightAnd("--force")));
        assert_eq!(check("restart --preflight --reason x"), Err(UsageError::PreflightAnd("--reason")));
        assert_eq!(check("restart now"), Err(UsageError::Unexpected("now".into())));
        assert_eq!(check("start"), Err(UsageError::Command(Some("start".into()))));
        assert_eq!(check(""), Err(UsageError::Command(None)));
    }
}
