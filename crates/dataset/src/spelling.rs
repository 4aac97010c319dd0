//! What somebody probably meant: the nearest word of a list, for the second line of an error.

/// The word of `choices` that is fewest letters away from `word`, if it is near enough to be a slip: at most two
/// letters, or a third of a long word. Of two equally near words the first is taken.
pub fn nearest<'a>(word: &str, choices: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(2);
    choices
        .into_iter()
        .map(|choice| (distance(word, choice), choice))
        .filter(|&(distance, _)| distance <= allowed)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, choice)| choice)
}

/// Letters to insert, remove, replace or swap with their neighbor (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_slip_and_only_a_slip() {
        let keys = ["density", "granule", "rounds", "seed"];
        assert_eq!(nearest("densty", keys), Some("density"));
        assert_eq!(nearest("sede", keys), Some("seed"));
        assert_eq!(nearest("granularity", keys), None);
        assert_eq!(nearest("", keys), None);
    }
}
