//! The accounts of ours on chat platforms.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Every account, by platform.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ChannelsConfig {
    /// Telegram: bots of the Bot API.
    pub telegram: TelegramConfig,
    /// Feishu: apps with an event connection.
    pub feishu: FeishuConfig,
}

/// Telegram.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TelegramConfig {
    /// Bots, by a name of ours.
    pub accounts: BTreeMap<String, TelegramAccount>,
}

/// One bot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TelegramAccount {
    /// The bot's token.
    pub bot_token: String,
    /// Base URL of the Bot API server, over plain HTTP: `http://127.0.0.1:8081` for a local one.
    pub api_root: String,
}

/// Feishu.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FeishuConfig {
    /// Apps, by a name of ours.
    pub accounts: BTreeMap<String, FeishuAccount>,
}

/// One app.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FeishuAccount {
    /// The app's id.
    pub app_id: String,
    /// The app's secret.
    pub app_secret: String,
    /// Base URL of the open platform, over plain HTTP.
    pub domain: String,
}

impl ChannelsConfig {
    /// Whether there is any account.
    pub fn is_empty(&self) -> bool {
        self.telegram.accounts.is_empty() && self.feishu.accounts.is_empty()
    }

    /// What makes no sense about them, if anything: the key, and why.
    pub(super) fn trouble(&self) -> Option<(String, &'static str)> {
        let is_word = |name: &str| {
            !name.is_empty()
                && name.len() <= 64
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        let telegram = self.telegram.accounts.iter().map(|(name, account)| {
            ("telegram", name, "apiRoot", &account.api_root, vec![("botToken", &account.bot_token)])
        });
        let feishu = self.feishu.accounts.iter().map(|(name, account)| {
            let secrets = vec![("appId", &account.app_id), ("appSecret", &account.app_secret)];
            ("feishu", name, "domain", &account.domain, secrets)
        });
        telegram.chain(feishu).find_map(|(platform, name, url_key, url, secrets)| {
            let at = |key: &str| format!("channels.{platform}.accounts.{name}{key}");
            if !is_word(name) {
                return Some((at(""), "its name must have 1 to 64 small letters, digits and hyphens"));
            }
            if let Some((key, _)) = secrets.iter().find(|(_, secret)| secret.is_empty()) {
                return Some((at(&format!(".{key}")), "must not be empty"));
            }
            let no_url = crate::agents::provider::Endpoint::parse(url).is_none();
            no_url.then(|| {
                (at(&format!(".{url_key}")), "must be a plain HTTP URL such as http://127.0.0.1:8081")
            })
        })
    }
}
