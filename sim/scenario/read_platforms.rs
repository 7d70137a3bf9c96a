//! Reading what a file says of the chat platforms: their settings, who talks there, and the steps that trouble them.

use std::ops::Range;

use super::error::{Problem, Read};
use super::platforms::{PlatformSetup, PlatformTrouble, PlatformsSetup};
use super::platforms_keys::DEFAULT_ACCOUNT;
use super::read::unfit_word;
use super::read_steps::{self, World};
use super::table::{Table, choice, duration, range, some_range, whole, whole_range};
use super::{DurationRange, Machine, SenderKind, SenderSetup, Verb};

/// Reads `[platforms]`.
pub(super) fn platforms(table: &Table<'_>) -> Read<PlatformsSetup> {
    let telegram = table.table("telegram", "[platforms.telegram]")?;
    let feishu = table.table("feishu", "[platforms.feishu]")?;
    let never = DurationRange { min: std::time::Duration::ZERO, max: std::time::Duration::ZERO };
    Ok(PlatformsSetup {
        telegram: PlatformSetup {
            latency: telegram.get("latency", range)?,
            redeliver_after: never,
            new_ids: 0,
        },
        feishu: PlatformSetup {
            latency: feishu.get("latency", range)?,
            redeliver_after: feishu.get("redeliver-after", some_range)?,
            new_ids: feishu.get("new-ids", whole)?,
        },
    })
}

/// Checks that what `table` says of a sender goes together.
pub(super) fn sender(table: &Table<'_>, setup: &SenderSetup) -> Read<()> {
    if let Some(why) = unfit_word(&setup.account) {
        let what = format!("`{}` cannot be a bot's name", setup.account.escape_debug());
        return Err(Problem::at(table.span_of("account"), what).label(why));
    }
    if setup.channel.platform().is_none() {
        let names_one = setup.account != DEFAULT_ACCOUNT;
        return match table.span_of_key("account").filter(|_| names_one) {
            Some(span) => Err(Problem::at(span, "`account` has no meaning on webchat")
                .label("bots are found on platforms")
                .help("leave it out, or let the sender talk on `telegram` or `feishu`.")),
            None => Ok(()),
        };
    }
    for (key, is_set) in [
        ("kind", setup.kind != SenderKind::Patient),
        ("token", setup.token.is_some()),
        ("joins", setup.joins.is_some()),
    ] {
        if is_set {
            return Err(Problem::at(table.span_of(key), format!("`{key}` has no meaning on a platform"))
                .label("a user of a platform has no connection to the gateway")
                .help("leave it out, or let the sender talk on `webchat`."));
        }
    }
    Ok(())
}

/// The two machines of the step `table`, if both are there.
pub(super) fn there(
    table: &Table<'_>,
    world: &World<'_>,
    between: (Machine, Machine),
) -> Read<(Machine, Machine)> {
    is_there(table, "between", world, between.0)?;
    is_there(table, "between", world, between.1)?;
    Ok(between)
}

/// The machine that `key` of the step `table` names, if it is there.
pub(super) fn is_there(table: &Table<'_>, key: &str, world: &World<'_>, machine: Machine) -> Read<Machine> {
    let is_there = world.senders.values().any(|setup| setup.channel.platform().is_some());
    if is_there || machine != Machine::Platforms {
        return Ok(machine);
    }
    Err(Problem::at(table.span_of(key), "there is no machine `platforms` in this scenario")
        .label("nobody talks on a platform")
        .help("give a sender `channel = \"telegram\"` or `channel = \"feishu\"`."))
}

/// Others can take part in the conversation of the sender with that setup.
pub(super) fn can_be_joined(setup: &SenderSetup, span: Range<usize>) -> Read<()> {
    let Some(platform) = setup.channel.platform() else { return Ok(()) };
    let problem = Problem::at(span, format!("nobody can join a conversation on {platform}"));
    Err(problem.label("it is between a user and a bot").help("name a sender on `webchat`."))
}

/// Reads the step `table`, whose verb is `word`; `None` when that is no verb of this kind.
pub(super) fn verb(table: &Table<'_>, word: &str, world: &World<'_>) -> Read<Option<Verb>> {
    let trouble = match word {
        "platform-blocks" => blocks(table, world)?,
        "platform-down" => PlatformTrouble::Down {
            platform: table.get("platform", choice)?,
            how: table.get("how", choice)?,
            lasting: table.get("for", some_range)?,
        },
        "platform-slow" => PlatformTrouble::Slow {
            platform: table.get("platform", choice)?,
            by: table.get("by", duration)?,
            lasting: table.get("for", some_range)?,
        },
        "platform-limits" => PlatformTrouble::Limits {
            platform: table.get("platform", choice)?,
            retry_after: table.get("retry-after", duration)?,
            lasting: table.get("for", some_range)?,
        },
        "platform-cuts-line" => PlatformTrouble::CutsLine {
            platform: table.get("platform", choice)?,
            from_send: table.get("from-send", whole_range)?,
            sends: table.get("sends", whole)?,
        },
        "platform-acknowledges-late" => PlatformTrouble::TakesItsTime {
            platform: table.get("platform", choice)?,
            by: table.get("by", duration)?,
            lasting: table.get("for", some_range)?,
        },
        _ => return Ok(None),
    };
    let platform = trouble.platform();
    if !world.senders.values().any(|setup| setup.channel.platform() == Some(platform)) {
        return Err(Problem::at(table.span_of("platform"), format!("nobody talks on {platform}"))
            .label("without users and bots there is no such platform")
            .help(format!("give a sender `channel = \"{platform}\"`.")));
    }
    Ok(Some(Verb::PlatformTrouble(trouble)))
}

fn blocks(table: &Table<'_>, world: &World<'_>) -> Read<PlatformTrouble> {
    let sender = read_steps::sender(table, "sender", world)?;
    let Some(platform) = world.senders.get(&sender).and_then(|setup| setup.channel.platform()) else {
        return Err(Problem::at(table.span_of("sender"), format!("`{sender}` talks on no platform"))
            .label("only a platform can refuse what is sent to somebody")
            .help("name a sender whose `channel` is `telegram` or `feishu`."));
    };
    Ok(PlatformTrouble::Blocks {
        sender,
        platform,
        how: table.get("how", choice)?,
        lasting: table.optional("for", some_range)?,
    })
}
