//! No request without valid authentication is served.

use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::Fact;
use crate::timeline::words::{moment, quoted};

/// No request without valid authentication is served.
pub(super) struct NothingWithoutAuthentication;

impl Oracle for NothingWithoutAuthentication {
    fn invariant(&self) -> &'static str {
        "nothing-without-authentication"
    }

    fn sentence(&self) -> &'static str {
        "No request without valid authentication is served."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let served = run.events.iter().filter_map(|event| match &event.fact {
            Fact::IntruderAnswered { request, refused: false } => Some((event.at, request)),
            _ => None,
        });
        served
            .map(|(at, request)| {
                let message = format!("An intruder's request was served: {}", quoted(request));
                let explanation =
                    format!("At {} the gateway did not refuse {} as it should.", moment(at), quoted(request));
                breach(self, message, explanation)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::complaints;
    use crate::timeline::Source;
    use crate::timeline::story::Story;

    #[test]
    fn refused_is_right_and_served_is_wrong() {
        let intruder = |refused| {
            let request = "connect with a wrong token".to_string();
            Story::new().fact(Source::Prober, Fact::IntruderAnswered { request, refused })
        };
        assert_eq!(complaints(&NothingWithoutAuthentication, intruder(true)), [""; 0]);
        assert_eq!(
            complaints(&NothingWithoutAuthentication, intruder(false)),
            ["An intruder's request was served: \"connect with a wrong token\""]
        );
    }
}
