//! Durations and ranges of durations as scenario files write them: `5s`, `250ms`, `1m 30s`, `1s..5s`.
//!
//! The world's clock counts whole milliseconds, so a finer duration is refused rather than rounded. A range
//! includes both ends; the seed draws from it later.

use std::fmt;
use std::time::Duration;

use rand_chacha::rand_core::Rng;

/// The longest duration a scenario may name: beyond it lies a mistake, and no timer should overflow.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A duration, or a range of them from which the seed draws. Both ends are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationRange {
    /// The shortest, in whole milliseconds.
    pub min: Duration,
    /// The longest, in whole milliseconds; never shorter than `min`.
    pub max: Duration,
}

impl DurationRange {
    /// The range that holds one duration only.
    pub const fn exactly(duration: Duration) -> Self {
        Self { min: duration, max: duration }
    }

    /// Draws a duration of whole milliseconds. A range of one duration draws nothing from `rng`.
    pub fn draw(&self, rng: &mut impl Rng) -> Duration {
        let width_ms = self.max.saturating_sub(self.min).as_millis();
        if width_ms == 0 {
            return self.min;
        }
        // Multiply and shift: one draw whatever the width, with a bias far below one in 2^32 for ranges of days.
        let offset_ms = (u128::from(rng.next_u64()) * (width_ms + 1)) >> 64;
        self.min + Duration::from_millis(u64::try_from(offset_ms).unwrap_or(0))
    }
}

impl fmt::Display for DurationRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", humantime::format_duration(self.min))?;
        if self.min != self.max {
            write!(f, "..{}", humantime::format_duration(self.max))?;
        }
        Ok(())
    }
}

/// Reads a duration; the error says in a few words what is wrong with it.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("this is empty".into());
    }
    if text.starts_with('-') {
        return Err("a duration cannot be negative".into());
    }
    let duration = humantime::parse_duration(text).map_err(|error| match error {
        humantime::DurationError::UnknownUnit { unit, .. } if unit.is_empty() => {
            format!("the unit is missing: `{text}s`, `{text}ms`?")
        }
        humantime::DurationError::UnknownUnit { unit, .. } => {
            format!("`{unit}` is not a unit of time; use ms, s, m, h or d")
        }
        humantime::DurationError::NumberOverflow => "the number is too large".into(),
        _ => "this is not a duration".into(),
    })?;
    if duration > LONGEST {
        return Err("this is longer than 7 days".into());
    }
    if duration.subsec_nanos() % 1_000_000 != 0 {
        return Err("the world's clock counts whole milliseconds".into());
    }
    Ok(duration)
}

/// Reads a duration or a range of two; the error says in a few words what is wrong with it.
pub(super) fn parse_range(text: &str) -> Result<DurationRange, String> {
    let Some((min, max)) = text.split_once("..") else {
        return parse_duration(text).map(DurationRange::exactly);
    };
    let min = parse_duration(min).map_err(|why| format!("the start of the range: {why}"))?;
    let max = parse_duration(max).map_err(|why| format!("the end of the range: {why}"))?;
    if min > max {
        let swapped = DurationRange { min: max, max: min };
        return Err(format!("the range ends before it starts; did you mean `{swapped}`?"));
    }
    Ok(DurationRange { min, max })
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn a_draw_reaches_both_ends_and_nothing_beyond() {
        let range = parse_range("2ms..5ms").expect("a range");
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let drawn: std::collections::BTreeSet<_> =
            (0..200).map(|_| range.draw(&mut rng).as_millis()).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [2, 3, 4, 5]);
    }

    #[test]
    fn a_range_of_one_duration_draws_nothing() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let untouched = rng.clone();
        let range = DurationRange::exactly(Duration::from_secs(3));
        assert_eq!(range.draw(&mut rng), Duration::from_secs(3));
        assert_eq!(rng, untouched);
    }

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, ms) in [("0s", 0), ("0", 0), ("250ms", 250), ("1m 30s", 90_000), ("2h", 7_200_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "-5s", "5", "5 parsecs", "1us", "99999999999999999999s", "9999d", "soon"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(
            parse_range("5s..1s"),
            Err("the range ends before it starts; did you mean `1s..5s`?".into())
        );
        assert_eq!(parse_range("1s .. 5s").map(|range| range.to_string()), Ok("1s..5s".into()));
    }
}
