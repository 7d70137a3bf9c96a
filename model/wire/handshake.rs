//! The handshake: `connect.challenge`, then `connect` with the token, then `hello-ok`.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::Client;
use super::frames::{Answer, Params, RpcError, as_answer, event};
use super::rpc;
use super::{MAX_PAYLOAD_BYTES, PROTOCOL_VERSION, TICK_INTERVAL_MS};
use crate::gateway::Gateway;
use crate::policy::Authentication;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConnectParams {
    min_protocol: u64,
    max_protocol: u64,
    #[serde(default)]
    auth: Auth,
    /// What it wants to be allowed; everything unless it says so.
    scopes: Option<Vec<String>>,
    #[serde(default)]
    client: ClientParams,
}

#[derive(Default, Deserialize)]
struct ClientParams {
    id: Option<String>,
}

#[derive(Default, Deserialize)]
struct Auth {
    token: Option<String>,
}

/// What a client reads when it is connected.
#[derive(Serialize)]
struct Hello {
    auth: GrantedAuth,
    features: Features,
    policy: Limits,
    protocol: u64,
    server: Server,
    snapshot: Snapshot,
    r#type: &'static str,
}

#[derive(Serialize)]
struct GrantedAuth {
    role: &'static str,
    scopes: Vec<&'static str>,
}

#[derive(Serialize)]
struct Features {
    events: [&'static str; 4],
    methods: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Limits {
    max_buffered_bytes: u64,
    max_payload: usize,
    tick_interval_ms: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Server {
    conn_id: String,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Snapshot {
    uptime_ms: u64,
}

/// The event that opens the conversation.
pub(super) fn challenge(gateway: &Gateway) -> String {
    let nonce = gateway.env.random_id("connect-nonce");
    event("connect.challenge", json!({"nonce": nonce, "ts": gateway.env.wall_clock().epoch_ms()}))
}

/// Judges a `connect` request.
pub(super) fn connect(
    gateway: &Gateway,
    connection_id: u64,
    params: Params<'_>,
) -> Result<(Answer, Client), RpcError> {
    let params: ConnectParams = params.read("connect")?;
    if !(params.min_protocol..=params.max_protocol).contains(&PROTOCOL_VERSION) {
        return Err(RpcError::invalid(format!(
            "this gateway speaks protocol {PROTOCOL_VERSION}, the client {} to {}",
            params.min_protocol, params.max_protocol
        )));
    }
    let expected = &gateway.config.gateway.auth.token;
    let authenticated = params.auth.token.is_some_and(|token| same_secret(&token, expected));
    match gateway.policies.authentication {
        Authentication::Required if !authenticated => {
            return Err(RpcError::forbidden("the token is missing or wrong"));
        }
        Authentication::Required | Authentication::Skipped => {}
    }
    let client = Client::new(params.client.id.as_deref(), params.scopes.as_deref());
    let hello = Hello {
        auth: GrantedAuth { role: "operator", scopes: client.scopes() },
        features: Features {
            events: ["chat", "tick", "restart", "shutdown"],
            methods: rpc::methods(gateway).collect(),
        },
        policy: Limits {
            max_buffered_bytes: gateway.config.gateway.max_buffered_bytes,
            max_payload: MAX_PAYLOAD_BYTES,
            tick_interval_ms: TICK_INTERVAL_MS,
        },
        protocol: PROTOCOL_VERSION,
        server: Server { conn_id: connection_id.to_string(), version: env!("CARGO_PKG_VERSION") },
        snapshot: Snapshot { uptime_ms: gateway.uptime().as_millis() as u64 },
        r#type: "hello-ok",
    };
    let hello = as_answer(&hello);
    Ok((hello, client))
}

/// Compares secrets in a time that does not tell how much of them agrees.
fn same_secret(given: &str, expected: &str) -> bool {
    let differing = given.bytes().zip(expected.bytes()).fold(0, |differing, (a, b)| differing | (a ^ b));
    given.len() == expected.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::same_secret;

    #[test]
    fn secrets_are_equal_only_when_all_of_them_is() {
        assert!(same_secret("abc", "abc"));
        for wrong in ["", "ab", "abd", "abcd"] {
            assert!(!same_secret(wrong, "abc"), "{wrong:?}");
        }
    }
}
