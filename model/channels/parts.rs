//! The parts of a text that is longer than what a platform takes at once.

/// What is left free in each part of a text: when it is sent again, it may say so.
pub(super) const ROOM_FOR_A_WORD: usize = 100;

/// Cuts `text` into parts of at most `limit`, by the measure of each character; where it can, after a line or a word.
pub(super) fn parts(text: &str, limit: usize, measure: impl Fn(char) -> usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let mut size = 0;
        let too_long = rest.char_indices().find(|(_, c)| {
            size += measure(*c);
            size > limit
        });
        let Some((end, _)) = too_long else { break };
        let fits = &rest[..end];
        let after = |c: char| fits.rfind(c).map(|at| at + c.len_utf8()).filter(|at| *at > end / 2);
        let (part, left) = rest.split_at(after('\n').or_else(|| after(' ')).unwrap_or(end));
        parts.push(part);
        rest = left;
    }
    parts.push(rest);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, limit: usize, expected: &[&str]) {
        assert_eq!(parts(text, limit, char::len_utf16), expected, "{text}");
    }

    #[test]
    fn a_text_is_cut_after_a_line_or_a_word_where_there_is_one() {
        check("", 5, &[""]);
        check("12345", 5, &["12345"]);
        check("123456", 5, &["12345", "6"]);
        check("123 456 7", 5, &["123 ", "456 7"]);
        check("12\n4 6", 5, &["12\n", "4 6"]);
        check("1 345678", 5, &["1 345", "678"]);
        check("äöüß", 2, &["äö", "üß"]);
        check("𝄞𝄞", 3, &["𝄞", "𝄞"]);
    }
}
