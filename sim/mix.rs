//! A hash function for what is looked up or written down all the time: a few instructions a word, and the same in every
//! run, in every process and on every machine.
//!
//! It is not for keys that somebody chooses to do harm. What differs before the last word stays different after it, so
//! two streams that have parted meet again only by chance. Knows nothing of what it hashes.

use std::hash::{BuildHasherDefault, Hasher};

use indexmap::IndexMap;

/// A map in the order of insertion, for keys that are looked up often.
pub(crate) type MixMap<K, V> = IndexMap<K, V, BuildHasherDefault<Mix>>;

/// See the file's head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix(u64);

impl Default for Mix {
    /// Not zero, to which a zero would add nothing.
    fn default() -> Self {
        Self(0x243f_6a88_85a3_08d3)
    }
}

impl Hasher for Mix {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|word| self.write_u64(u64::from_le_bytes(*word)));
        // With its length, which tells it from one with zeros at its end.
        let last = rest.iter().rev().fold(bytes.len() as u64, |word, byte| word << 8 | u64::from(*byte));
        self.write_u64(last);
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    #[inline]
    fn write_u16(&mut self, number: u16) {
        self.write_u64(u64::from(number));
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(26) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        // The upper bits are the well mixed ones, and tables look at the lower ones first.
        let folded = (self.0 ^ self.0 >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        folded ^ folded >> 32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::Hash;

    use super::*;

    fn mixed(what: impl Hash) -> u64 {
        let mut mix = Mix::default();
        what.hash(&mut mix);
        mix.finish()
    }

    #[test]
    fn what_differs_little_differs() {
        let texts = [
            "",
            "\0",
            "\0\0",
            "a",
            "a\0",
            "ab",
            "ba",
            "abcdefgh",
            "abcdefgh\0",
            "abcdefgi",
            "abcdefghabcdefgh",
        ];
        let mut seen: BTreeSet<u64> = texts.iter().map(mixed).collect();
        seen.extend((0..1000_u64).map(mixed));
        seen.extend((1..1000_i64).map(|number| mixed((number, -number))));
        assert_eq!(seen.len(), texts.len() + 1000 + 999);
    }

    #[test]
    fn the_order_counts() {
        assert_ne!(mixed((1_u64, 2_u64)), mixed((2_u64, 1_u64)));
        assert_ne!(mixed(("ab", "c")), mixed(("a", "bc")));
    }

    #[test]
    fn the_low_bits_of_near_numbers_spread() {
        let low: BTreeSet<u64> = (0..64_u32).map(|number| mixed(number) & 127).collect();
        assert!(low.len() > 35, "{}", low.len());
    }
}
