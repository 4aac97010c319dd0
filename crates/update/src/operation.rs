//! One step of making a pack, as it is written down (`FORMAT.md`, 5).

use crate::cursor::Cursor;
use crate::error::Error;

/// Kinds of operations that take numbers out of the frame, in the order in which these lie there.
pub(crate) const KINDS: [Kind; 7] =
    [Kind::Bytes, Kind::Numbers8, Kind::Numbers16, Kind::Numbers32, Kind::Sums8, Kind::Sums16, Kind::Sums32];

/// The number of a copy, which takes nothing out of the frame (registry 6).
const COPY: u8 = 1;

/// One step of making a pack: it appends `count` numbers to what has been made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// What it takes out of the frame; a copy takes nothing.
    pub(crate) kind: Option<Kind>,
    /// How many numbers, at least 1.
    pub(crate) count: u64,
    /// Where the numbers of a parent lie that are copied or added to: for copies and sums.
    pub(crate) parent: Option<Place>,
}

/// A place in the content of a parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) parent: u64,
    pub(crate) offset: u64,
}

/// What an operation takes out of the frame (registry 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bytes = 2,
    Numbers8 = 3,
    Numbers16 = 4,
    Numbers32 = 5,
    Sums8 = 6,
    Sums16 = 7,
    Sums32 = 8,
}

impl Kind {
    /// Bytes of a number.
    pub(crate) const fn width(self) -> usize {
        match self {
            Self::Bytes | Self::Numbers8 | Self::Sums8 => 1,
            Self::Numbers16 | Self::Sums16 => 2,
            Self::Numbers32 | Self::Sums32 => 4,
        }
    }

    /// Whether its numbers are added to those of a parent.
    pub(crate) const fn is_sum(self) -> bool {
        matches!(self, Self::Sums8 | Self::Sums16 | Self::Sums32)
    }

    /// Its place among [`KINDS`].
    pub(crate) const fn place(self) -> usize {
        self as usize - 2
    }
}

impl Operation {
    /// The next one.
    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Error> {
        let number = cursor.u8()?;
        let kind = KINDS.into_iter().find(|kind| *kind as u8 == number);
        if kind.is_none() && number != COPY {
            return Err(Error::unsupported(format!("operation {number} is not known, expected 1 to 8")));
        }
        let count = cursor.varint()?;
        if count == 0 {
            return Err(Error::damaged("an operation makes 0 numbers, expected at least 1"));
        }
        let parent = match kind {
            Some(kind) if !kind.is_sum() => None,
            _ => Some(Place { parent: cursor.varint()?, offset: cursor.varint()? }),
        };
        Ok(Self { kind, count, parent })
    }

    /// Appends it.
    #[cfg(feature = "write")]
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        use crate::cursor::encode_varint;
        out.push(self.kind.map_or(COPY, |kind| kind as u8));
        encode_varint(self.count, out);
        if let Some(Place { parent, offset }) = self.parent {
            encode_varint(parent, out);
            encode_varint(offset, out);
        }
    }

    /// Bytes that it appends; none if no machine could hold them.
    pub(crate) fn size_bytes(&self) -> Option<u64> {
        self.count.checked_mul(self.kind.map_or(1, Kind::width) as u64)
    }
}

/// Appends the numbers whose bytes lie at `at` in `planes`, the lowest first, each added to the one at its place in `to`, if
/// there is such.
pub(crate) fn from_planes(planes: &[&[u8]], at: std::ops::Range<usize>, to: Option<&[u8]>, out: &mut Vec<u8>) {
    let width = planes.len();
    for (number, place) in at.enumerate() {
        let mut carry = 0;
        for (byte, plane) in planes.iter().enumerate() {
            let sum = u16::from(plane[place]) + to.map_or(0, |to| u16::from(to[number * width + byte])) + carry;
            carry = sum >> 8;
            out.push(sum as u8);
        }
    }
}

/// Appends to each plane the byte of its rank of each of `numbers`, less the one at its place in `from`, if there is such.
#[cfg(feature = "write")]
pub(crate) fn to_planes(numbers: &[u8], from: Option<&[u8]>, planes: &mut [Vec<u8>]) {
    let width = planes.len();
    for place in 0..numbers.len() / width {
        let mut borrow = 0;
        for (byte, plane) in planes.iter_mut().enumerate() {
            let at = place * width + byte;
            let difference = i16::from(numbers[at]) - from.map_or(0, |from| i16::from(from[at])) - borrow;
            borrow = i16::from(difference < 0);
            plane.push(difference as u8);
        }
    }
}

#[cfg(all(test, feature = "write"))]
mod tests {
    use super::*;

    #[test]
    fn operations_come_back() {
        let place = Some(Place { parent: 3, offset: 1 << 40 });
        let mut all = vec![Operation { kind: None, count: 300, parent: place }];
        for kind in KINDS {
            all.push(Operation { kind: Some(kind), count: 300, parent: place.filter(|_| kind.is_sum()) });
            assert_eq!(KINDS[kind.place()], kind);
        }
        let mut bytes = Vec::new();
        all.iter().for_each(|operation| operation.encode(&mut bytes));
        let mut cursor = Cursor::new(&bytes, "the test");
        for operation in all {
            assert_eq!(Operation::decode(&mut cursor).unwrap(), operation);
        }
        assert!(cursor.is_empty());
    }

    #[test]
    fn numbers_come_back_from_planes_and_carry_over() {
        let numbers = [0, 1, 255, 0, 0, 0, 0, 0, 7, 255, 255, 255];
        let before = [1, 255, 3, 4, 1, 0, 0, 0, 255, 255, 255, 255];
        for width in [1, 2, 4] {
            for from in [None, Some(&before[..])] {
                let mut planes = vec![vec![9]; width];
                to_planes(&numbers, from, &mut planes);
                let planes: Vec<&[u8]> = planes.iter().map(Vec::as_slice).collect();
                let mut again = Vec::new();
                from_planes(&planes, 1..1 + 12 / width, from, &mut again);
                assert_eq!(again, numbers, "{width} bytes");
            }
        }
    }
}
