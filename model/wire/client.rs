//! Who a client is, by its own words, and what it may: the scopes of its connection.
//!
//! Whoever has the token may have everything, and may ask for less. Administration includes writing, and that reading.

use super::frames::RpcError;

/// How much of a client's name is kept, in characters.
const MAX_NAME_CHARS: usize = 64;
/// Under which name the command line of the daemon connects.
pub(crate) const COMMAND_LINE: &str = "gateway-cli";

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// See what is there.
    Read,
    /// Hand messages over and stop them.
    Write,
    /// Restart the gateway.
    Admin,
}

impl Scope {
    const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// As the protocol names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Read => "operator.read",
            Self::Write => "operator.write",
            Self::Admin => "operator.admin",
        }
    }
}

/// A client that has shown who it is; by default one that may nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Client {
    name: Option<String>,
    highest: Option<Scope>,
}

impl Client {
    /// Whoever presents the token. A scope that nobody knows grants nothing.
    pub(super) fn new(name: Option<&str>, asked: Option<&[String]>) -> Self {
        let is_asked =
            |scope: &Scope| asked.is_none_or(|asked| asked.iter().any(|name| name == scope.name()));
        let name: Option<String> = name.map(|name| name.trim().chars().take(MAX_NAME_CHARS).collect());
        Self {
            name: name.filter(|name| !name.is_empty()),
            highest: Scope::ALL.into_iter().filter(is_asked).max(),
        }
    }

    /// The names of its scopes.
    pub(super) fn scopes(&self) -> Vec<&'static str> {
        let scopes = Scope::ALL.into_iter().filter(|scope| Some(*scope) <= self.highest);
        scopes.map(Scope::name).collect()
    }

    /// By what name its requests are known.
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("a client without a name")
    }

    /// Whether it may do what asks for `scope`.
    ///
    /// Errors: it may not.
    pub(super) fn may(&self, scope: Scope) -> Result<(), RpcError> {
        match Some(scope) <= self.highest {
            true => Ok(()),
            false => Err(RpcError::forbidden(format!("missing scope: {}", scope.name()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_less_gets_less() {
        let scopes = |asked: Option<&[&str]>| {
            let asked: Option<Vec<String>> =
                asked.map(|asked| asked.iter().map(ToString::to_string).collect());
            Client::new(None, asked.as_deref()).scopes()
        };
        let all = ["operator.read", "operator.write", "operator.admin"];
        assert_eq!(scopes(None), all);
        assert_eq!(scopes(Some(&["operator.admin"])), all, "administration includes the others");
        assert_eq!(scopes(Some(&["operator.write", "operator.fly"])), all[..2]);
        assert_eq!(scopes(Some(&["operator.read"])), all[..1]);
        assert!(scopes(Some(&[])).is_empty());
        assert!(Client::default().may(Scope::Read).is_err());
        let reader = Client::new(Some("  x "), Some(&["operator.read".to_string()]));
        assert_eq!((reader.name(), reader.may(Scope::Read)), ("x", Ok(())));
        let refused = reader.may(Scope::Admin).expect_err("it may not");
        assert_eq!(refused.message, "missing scope: operator.admin");
    }
}
