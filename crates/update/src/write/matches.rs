//! Which bytes of a pack its parents have, found by equal blocks.
//!
//! zstd could be given the parents as a prefix, as `--patch-from` does. It finds the same, and the receiver's decoder would have
//! to keep a window over all of the parents; a copy that is an operation needs none, and can be looked at.

use std::collections::HashMap;
use std::ops::Range;

/// Bytes of a block that is looked for. Every match of twice as many, less one, holds a whole block.
const BLOCK: usize = 16;
/// Shortest match that is worth an operation.
const MATCH_BYTES_MIN: usize = 24;

/// A part of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A parent has it.
    Found { parent: usize, offset: usize, count: usize },
    /// No parent has it: the range of the bytes.
    Lost(Range<usize>),
}

/// The blocks of all parents.
pub(super) struct Matches<'a> {
    contents: Vec<&'a [u8]>,
    /// The first place of each block: parent, offset.
    places: HashMap<&'a [u8], (usize, usize)>,
}

impl<'a> Matches<'a> {
    pub(super) fn new(contents: Vec<&'a [u8]>) -> Self {
        let mut places = HashMap::new();
        for (parent, content) in contents.iter().enumerate() {
            for (place, block) in content.chunks_exact(BLOCK).enumerate() {
                places.entry(block).or_insert((parent, place * BLOCK));
            }
        }
        Self { contents, places }
    }

    /// Cuts `bytes` into what the parents have and what they have not.
    pub(super) fn cut(&self, bytes: &[u8]) -> Vec<Piece> {
        let (mut pieces, mut done, mut at) = (Vec::new(), 0, 0);
        while let Some(block) = bytes.get(at..at + BLOCK) {
            let Some(&(parent, offset)) = self.places.get(block) else {
                at += 1;
                continue;
            };
            let content = self.contents[parent];
            let same = |(a, b): &(&u8, &u8)| a == b;
            let behind = bytes[at..].iter().zip(&content[offset..]).take_while(same).count();
            let before = bytes[done..at].iter().rev().zip(content[..offset].iter().rev()).take_while(same).count();
            if before + behind < MATCH_BYTES_MIN {
                at += 1;
                continue;
            }
            if at - before > done {
                pieces.push(Piece::Lost(done..at - before));
            }
            pieces.push(Piece::Found { parent, offset: offset - before, count: before + behind });
            at += behind;
            done = at;
        }
        if done < bytes.len() {
            pieces.push(Piece::Lost(done..bytes.len()));
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_is_taken_whole_and_the_rest_is_lost() {
        let parent: Vec<u8> = (0..=255).collect();
        let matches = Matches::new(vec![&[7; 40], &parent]);
        let bytes = [&[9, 9][..], &parent[3..90], &[1, 2, 3], &parent[200..230], &parent[..5]].concat();
        let expected = [
            Piece::Lost(0..2),
            Piece::Found { parent: 1, offset: 3, count: 87 },
            Piece::Lost(89..92),
            Piece::Lost(92..127),
        ];
        let found = matches.cut(&bytes);
        assert_eq!(found[..2], expected[..2]);
        assert!(matches!(found[3], Piece::Found { parent: 1, offset: 200, count: 30 }), "{found:?}");
        assert_eq!(matches.cut(&[]), []);
        assert_eq!(matches.cut(&parent[1..24]), [Piece::Lost(0..23)], "too short");
    }
}
