//! How facts are put into words, once for the ledger, the oracles and the reports.
//!
//! Times are seconds of virtual time with three decimals, spans are seconds with one; both are computed with
//! integers, so that a text is the same on every platform.

use std::time::Duration;

/// A moment: `1.650 s`.
pub(crate) fn moment(at: Duration) -> String {
    format!("{} s", seconds(at))
}

/// Seconds with three decimals and no unit: `1.650`.
pub(crate) fn seconds(at: Duration) -> String {
    format!("{}.{:03}", at.as_secs(), at.subsec_millis())
}

/// A length of time, rounded to a tenth of a second: `4.0 s`.
pub(crate) fn span(length: Duration) -> String {
    let tenths = (length.as_millis() + 50) / 100;
    format!("{}.{} s", tenths / 10, tenths % 10)
}

/// `text` in at most `limit` characters; what is cut shows as `…`, and a control character, which a terminal would
/// obey, as the replacement character.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    let shown = text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c });
    if text.chars().count() <= limit {
        return shown.collect();
    }
    shown.take(limit.saturating_sub(1)).chain(['…']).collect()
}

/// `text` in quotation marks, on one line and short enough to stand in a sentence.
pub(crate) fn quoted(text: &str) -> String {
    let one_line: Vec<_> = text.split_whitespace().collect();
    format!("\"{}\"", cut(&one_line.join(" "), 60))
}

/// `1 message`, `2 messages`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// `1st`, `2nd`, `11th`.
pub(crate) fn ordinal(number: u32) -> String {
    let suffix = match (number % 10, number % 100) {
        (1, n) if n != 11 => "st",
        (2, n) if n != 12 => "nd",
        (3, n) if n != 13 => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}

/// `text` with a capital letter at its beginning.
pub(crate) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_without_floats() {
        assert_eq!(moment(Duration::from_millis(1_007)), "1.007 s");
        assert_eq!(span(Duration::from_millis(1_950)), "2.0 s");
        assert_eq!(span(Duration::from_millis(1_949)), "1.9 s");
    }

    #[test]
    fn cutting_counts_characters_and_marks_the_cut() {
        assert_eq!(cut("naïve", 5), "naïve");
        assert_eq!(cut("naïvely", 5), "naïv…");
        assert_eq!(quoted("a\n  b"), "\"a b\"");
    }

    #[test]
    fn nothing_that_is_shown_can_command_a_terminal() {
        assert_eq!(cut("a\u{1b}[2Jb", 9), "a\u{fffd}[2Jb");
        assert_eq!(quoted("\u{7}ding"), "\"\u{fffd}ding\"");
    }
}
