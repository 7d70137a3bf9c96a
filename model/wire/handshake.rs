//! The handshake: `connect.challenge`, then `connect` with the token, then `hello-ok`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Client;
use super::frames::{Params, RpcError, event};
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
) -> Result<(Value, Client), RpcError> {
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
    let hello = json!({
        "type": "hello-ok",
        "protocol": PROTOCOL_VERSION,
        "server": {"version": env!("CARGO_PKG_VERSION"), "connId": connection_id.to_string()},
        "features": {
            "methods": rpc::methods(gateway).collect::<Vec<_>>(),
            "events": ["chat", "tick", "restart", "shutdown"],
        },
        "snapshot": {"uptimeMs": gateway.uptime().as_millis() as u64},
        "auth": {"role": "operator", "scopes": client.scopes()},
        "policy": {
            "maxPayload": MAX_PAYLOAD_BYTES,
            "maxBufferedBytes": gateway.config.gateway.max_buffered_bytes,
            "tickIntervalMs": TICK_INTERVAL_MS,
        },
    });
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
