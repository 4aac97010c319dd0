//! Where each element of a matrix lies in the form into which ONNX Runtime packs it: learned, since no interface says it.
//!
//! A packed form is a permutation of the matrix, with zeros in between. Which one depends on the kernel, the processor
//! and the version of the library. So the library is given matrices whose elements are all different numbers, and the
//! permutation is read from what it makes of them (`make.rs`).
//!
//! What is kept is not the permutation, which would take as much memory as the matrix, but two small tables. In the forms
//! of x86-64 and ARM an element's offset is a sum of a number of its column and a number of its row, where the latter is
//! one table for most columns and another for those of the last, narrower panel (or the same with rows and columns
//! exchanged). A permutation that is no such sum is refused, and its matrix stays an input of the graph.

use serde::{Deserialize, Serialize};

/// Most tables of the second kind: the panels of one matrix come in two widths, and a margin.
const GROUPS_MAX: usize = 8;

/// Where the elements of one matrix lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Layout {
    /// Whether `along` counts columns; else it counts rows, and `across` columns.
    by_columns: bool,
    /// For each place along, its share of the offset, in elements.
    along: Vec<u32>,
    /// For each place along, which table of `across` it goes with.
    group: Vec<u8>,
    /// For each group, for each place across, its share of the offset.
    across: Vec<Vec<u32>>,
}

impl Layout {
    /// From the packed form of a matrix of `rows` times `columns` whose elements are the bits `first`, `first + 1` and so
    /// on, in row-major order; zero is what lies between them. None if that is no permutation of them, or no such sum.
    pub(super) fn learn(packed: &[u32], first: u32, rows: usize, columns: usize) -> Option<Self> {
        const NOWHERE: u32 = u32::MAX;
        let mut offsets = vec![NOWHERE; rows.checked_mul(columns)?];
        for (offset, &number) in packed.iter().enumerate().filter(|&(_, &number)| number != 0) {
            let element = usize::try_from(number.checked_sub(first)?).ok()?;
            let found = offsets.get_mut(element).filter(|found| **found == NOWHERE)?;
            *found = u32::try_from(offset).ok().filter(|&offset| offset != NOWHERE)?;
        }
        if offsets.contains(&NOWHERE) {
            return None;
        }
        let of = |row: usize, column: usize| offsets[row * columns + column];
        Self::sum(true, columns, rows, |column, row| of(row, column)).or_else(|| Self::sum(false, rows, columns, of))
    }

    fn sum(by_columns: bool, along: usize, across: usize, of: impl Fn(usize, usize) -> u32) -> Option<Self> {
        let mut layout =
            Self { by_columns, along: Vec::with_capacity(along), group: Vec::with_capacity(along), across: Vec::new() };
        for at in 0..along {
            let start = of(at, 0);
            let goes_with = |table: &Vec<u32>| {
                (0..across).zip(table).all(|(over, &share)| start.checked_add(share) == Some(of(at, over)))
            };
            let group = match layout.across.iter().position(goes_with) {
                Some(group) => group,
                None if layout.across.len() == GROUPS_MAX => return None,
                None => {
                    let table = (0..across).map(|over| of(at, over).checked_sub(start)).collect::<Option<_>>()?;
                    layout.across.push(table);
                    layout.across.len() - 1
                }
            };
            layout.along.push(start);
            layout.group.push(group as u8);
        }
        Some(layout)
    }

    /// The offset, in elements of the packed form.
    pub(super) fn offset(&self, row: usize, column: usize) -> usize {
        let (along, across) = if self.by_columns { (column, row) } else { (row, column) };
        self.along[along] as usize + self.across[usize::from(self.group[along])][across] as usize
    }

    /// Whether this is a layout of a matrix of that many rows and columns into `packed_len` elements.
    pub(super) fn fits(&self, rows: usize, columns: usize, packed_len: usize) -> bool {
        let (along, across) = if self.by_columns { (columns, rows) } else { (rows, columns) };
        let most: Vec<usize> =
            self.across.iter().map(|table| table.iter().max().map_or(0, |most| *most as usize)).collect();
        (self.along.len(), self.group.len()) == (along, along)
            && self.across.iter().all(|table| table.len() == across)
            && self.along.iter().zip(&self.group).all(|(&start, &group)| {
                most.get(usize::from(group)).is_some_and(|most| start as usize + most < packed_len)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form of MLAS on x86-64: blocks of 256 columns, in them panels of 16 rows, in them one column after the other.
    fn mlas(rows: usize, columns: usize) -> (Vec<usize>, usize) {
        let padded = rows.next_multiple_of(16);
        let of = |row: usize, column: usize| {
            let block = column / 256;
            let depth = (columns - block * 256).min(256);
            block * 256 * padded + row / 16 * 16 * depth + column % 256 * 16 + row % 16
        };
        ((0..rows * columns).map(|element| of(element / columns, element % columns)).collect(), padded * columns)
    }

    fn packed(offsets: &[usize], length: usize, first: u32) -> Vec<u32> {
        let mut packed = vec![0; length];
        offsets.iter().zip(first..).for_each(|(&offset, number)| packed[offset] = number);
        packed
    }

    #[test]
    fn the_form_of_a_matrix_and_of_its_transpose_are_learned() {
        for (rows, columns) in [(1, 1), (96, 384), (40, 600), (17, 256), (300, 257), (1, 700)] {
            let (offsets, length) = mlas(rows, columns);
            let layout = Layout::learn(&packed(&offsets, length, 1000), 1000, rows, columns).unwrap();
            assert!(layout.fits(rows, columns, length) && !layout.fits(rows, columns, *offsets.iter().max().unwrap()));
            assert!(!layout.fits(rows + 1, columns, length) && !layout.fits(rows, columns + 1, length));
            let transposed: Vec<usize> =
                (0..rows * columns).map(|element| offsets[element % rows * columns + element / rows]).collect();
            let turned = Layout::learn(&packed(&transposed, length, 7), 7, columns, rows).unwrap();
            for (element, &offset) in offsets.iter().enumerate() {
                let (row, column) = (element / columns, element % columns);
                assert_eq!((layout.offset(row, column), turned.offset(column, row)), (offset, offset));
            }
        }
    }

    #[test]
    fn what_is_no_permutation_or_no_sum_is_refused() {
        let (offsets, length) = mlas(40, 300);
        let good = packed(&offsets, length, 5);
        let lost = |at: usize| {
            let mut bad = good.clone();
            bad[at] = 0;
            bad
        };
        assert!(Layout::learn(&good, 5, 40, 300).is_some());
        assert!(Layout::learn(&lost(3), 5, 40, 300).is_none());
        assert!(Layout::learn(&good, 6, 40, 300).is_none(), "a number below the first");
        assert!(Layout::learn(&good, 4, 40, 300).is_none(), "a number above the last");
        let mut twice = good.clone();
        *twice.iter_mut().find(|number| **number == 0).unwrap() = 5;
        assert!(Layout::learn(&twice, 5, 40, 300).is_none());
        // A permutation without any order in it.
        let shuffled: Vec<usize> = (0..64 * 64).map(|element| (element * 1201 % (64 * 64)) ^ 5).collect();
        assert!(Layout::learn(&packed(&shuffled, 64 * 64, 1), 1, 64, 64).is_none());
    }
}
