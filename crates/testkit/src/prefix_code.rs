//! Prefix codes from their lengths, as `FORMAT.md` 6.8 and RFC 1951, 3.2.2 assign them.

/// For each symbol its code, or `None` for a symbol that does not occur.
///
/// Returns nothing at all if the lengths are not complete.
pub(crate) fn codes(lengths: &[u8]) -> Option<Vec<Option<u32>>> {
    let used: Vec<u8> = lengths.iter().copied().filter(|&length| length != 0).collect();
    if used.len() == 1 {
        let only_is_one = used == [1];
        return only_is_one.then(|| lengths.iter().map(|&length| (length == 1).then_some(0)).collect());
    }
    // In units of 2^-15, the longest code that four bits can announce.
    let share: u32 = used.iter().map(|&length| 1 << (15 - u32::from(length))).sum();
    if share != 1 << 15 {
        return None;
    }
    let mut codes = vec![None; lengths.len()];
    let mut next = 0_u32;
    for length in 1..=15 {
        next <<= 1;
        for (symbol, _) in lengths.iter().enumerate().filter(|&(_, &found)| found == length) {
            codes[symbol] = Some(next);
            next += 1;
        }
    }
    Some(codes)
}

/// Complete lengths for so many symbols, of which these occur, as equal as they can be.
///
/// # Panics
///
/// If no symbol occurs, or more than 2^15.
pub fn even_lengths(symbol_count: usize, used: &[usize]) -> Vec<u8> {
    assert!(!used.is_empty(), "no code without symbols");
    let longest = used.len().next_power_of_two().ilog2().max(1);
    let shorter_count = if used.len() == 1 { 0 } else { (1 << longest) - used.len() };
    let longest = u8::try_from(longest).ok().filter(|&longest| longest <= 15).expect("at most 2^15 symbols");
    let mut lengths = vec![0; symbol_count];
    for (place, &symbol) in used.iter().enumerate() {
        lengths[symbol] = if place < shorter_count { longest - 1 } else { longest };
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::{codes, even_lengths};

    #[test]
    fn gives_the_codes_of_the_example_in_rfc_1951() {
        let expected = [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111].map(Some);
        assert_eq!(codes(&[3, 3, 3, 3, 3, 2, 4, 4]), Some(expected.to_vec()));
    }

    #[test]
    fn even_lengths_are_complete() {
        for used_count in 1..70 {
            let used: Vec<usize> = (0..used_count).map(|place| 2 * place).collect();
            let lengths = even_lengths(140, &used);
            let codes = codes(&lengths).unwrap_or_else(|| panic!("{used_count} symbols: {lengths:?}"));
            assert_eq!(codes.iter().flatten().count(), used_count);
        }
    }

    #[test]
    fn refuses_lengths_that_are_not_complete() {
        assert_eq!(codes(&[0, 0]), None, "no symbol");
        assert_eq!(codes(&[2, 0]), None, "one symbol of a length other than 1");
        assert_eq!(codes(&[1, 2]), None, "a code is left over");
        assert_eq!(codes(&[1, 1, 1]), None, "more codes than there are");
        assert_eq!(codes(&[0, 1]), Some(vec![None, Some(0)]), "the exception");
    }
}
