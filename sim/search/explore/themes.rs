//! Themes: what a world is mostly about. Each seed has a few of them, and what belongs to these is drawn often, the rest
//! now and then. Troubles that have to meet to do harm so have a chance to meet, where everything drawn alike would
//! hardly ever bring them together.

use super::dice::Die;

/// What a world may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Theme {
    /// Deaths of all kinds, again and again.
    Crashes,
    /// Restarts that are asked for, edits of the configuration, and work that takes long.
    Restarts,
    /// Chat platforms.
    Platforms,
    /// The session store, its locks, and who else writes it.
    Store,
    /// Several gateways.
    Conflicts,
    /// Scheduled jobs.
    Jobs,
    /// Work that turns hand to others.
    Subagents,
    /// Hooks, and programs that the model runs.
    Programs,
    /// Rude peers.
    Peers,
    /// Conversations with many messages, of several senders.
    Queues,
    /// Supervisors that are not set up as usual.
    Supervision,
}

impl Theme {
    const ALL: [(Self, &str); 11] = [
        (Self::Crashes, "crashes"),
        (Self::Restarts, "restarts"),
        (Self::Platforms, "platforms"),
        (Self::Store, "store"),
        (Self::Conflicts, "conflicts"),
        (Self::Jobs, "jobs"),
        (Self::Subagents, "subagents"),
        (Self::Programs, "programs"),
        (Self::Peers, "peers"),
        (Self::Queues, "queues"),
        (Self::Supervision, "supervision"),
    ];
}

/// What one world is about.
#[derive(Clone, Debug, Default)]
pub(super) struct Themes(Vec<Theme>);

impl Themes {
    /// Two or three of them.
    pub(super) fn draw(die: &Die) -> Self {
        let mut themes = Vec::new();
        for _ in 0..die.between(2, 3) {
            let (theme, _) = *die.pick(&Theme::ALL);
            if !themes.contains(&theme) {
                themes.push(theme);
            }
        }
        Self(themes)
    }

    /// Whether this is one of them.
    pub(super) fn has(&self, theme: Theme) -> bool {
        self.0.contains(&theme)
    }

    /// True so many times in a hundred where this is a theme, and so many where it is none.
    pub(super) fn chance(&self, die: &Die, theme: Theme, then: u64, else_: u64) -> bool {
        die.chance(if self.has(theme) { then } else { else_ })
    }

    /// Their words.
    pub(super) fn words(&self) -> String {
        let known = Theme::ALL.iter().filter(|(theme, _)| self.has(*theme));
        known.map(|(_, word)| *word).collect::<Vec<_>>().join(" and ")
    }
}
