//! Folding: rows of a matrix that say the same become one row, `any` in the place of the axis that does not matter.
//!
//! A row stands for every combination of the values that it has on each axis. Two rows that differ on one axis only,
//! and say the same, are one. Knows nothing of what rows say but whether it is the same.

use std::collections::BTreeSet;

/// A row, and for every axis the numbers of the values that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row<T> {
    pub(super) values: Vec<BTreeSet<usize>>,
    pub(super) says: T,
}

/// What rows say.
pub(super) trait Says: Sized {
    /// What says both, if the two are about the same.
    fn joined(&self, other: &Self) -> Option<Self>;
}

/// As few rows as joining neighbours gives, in the order of their values.
pub(super) fn folded<T: Says>(mut rows: Vec<Row<T>>) -> Vec<Row<T>> {
    let axes = rows.first().map_or(0, |row| row.values.len());
    loop {
        let before = rows.len();
        for axis in (0..axes).rev() {
            rows = folded_along(axis, rows);
        }
        if rows.len() == before {
            break;
        }
    }
    rows.sort_by(|one, other| one.values.cmp(&other.values));
    rows
}

fn folded_along<T: Says>(axis: usize, rows: Vec<Row<T>>) -> Vec<Row<T>> {
    let mut folded: Vec<Row<T>> = Vec::new();
    'rows: for row in rows {
        for earlier in &mut folded {
            let elsewhere_same = (0..row.values.len())
                .all(|other| other == axis || earlier.values[other] == row.values[other]);
            if elsewhere_same && let Some(says) = earlier.says.joined(&row.says) {
                earlier.values[axis].extend(&row.values[axis]);
                earlier.says = says;
                continue 'rows;
            }
        }
        folded.push(row);
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Says for char {
        fn joined(&self, other: &Self) -> Option<Self> {
            (self == other).then_some(*self)
        }
    }

    /// What each of 2 by 3 cells says, as rows: `a 01 012` is one `a` for both values of the first axis and all of
    /// the second.
    fn fold(says: [&str; 2]) -> Vec<String> {
        let cells = says.iter().enumerate().flat_map(|(first, line)| {
            let row = move |(second, says)| Row {
                values: vec![BTreeSet::from([first]), BTreeSet::from([second])],
                says,
            };
            line.chars().enumerate().map(row)
        });
        let numbers = |values: &BTreeSet<usize>| values.iter().map(ToString::to_string).collect::<String>();
        let words = |row: Row<char>| {
            let values: Vec<_> = row.values.iter().map(numbers).collect();
            format!("{} {}", row.says, values.join(" "))
        };
        folded(cells.collect()).into_iter().map(words).collect()
    }

    #[test]
    fn what_is_the_same_on_an_axis_is_one_row() {
        assert_eq!(fold(["aaa", "aaa"]), ["a 01 012"]);
        assert_eq!(fold(["aaa", "bbb"]), ["a 0 012", "b 1 012"]);
        assert_eq!(fold(["aba", "aba"]), ["a 01 02", "b 01 1"]);
        assert_eq!(fold(["aab", "aaa"]), ["a 0 01", "b 0 2", "a 1 012"]);
    }

    #[test]
    fn nothing_is_joined_that_stands_apart() {
        assert_eq!(fold(["abc", "bca"]).len(), 6);
    }
}
