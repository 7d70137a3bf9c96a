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

/// `text` in at most `limit` characters; what is cut shows as `…`.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_string();
    }
    let mut kept: String = text.chars().take(limit.saturating_sub(1)).collect();
    kept.push('…');
    kept
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
}
