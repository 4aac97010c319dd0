//! A data set of noise in the form of MNIST, with colors: for runs whose speed matters and whose answers do not.

use std::fs;
use std::path::Path;

use taskvec_packer::random::Random;

/// Classes of the set.
pub(super) const CLASSES: usize = 10;
const IMAGES: usize = 64;

/// Writes images of `side` x `side` pixels into `folder`.
pub(super) fn write(folder: &Path, side: usize) -> anyhow::Result<()> {
    let mut random = Random::new(1, "images");
    let header = |sizes: &[usize]| {
        let start = [0, 0, 8, sizes.len() as u8];
        start.into_iter().chain(sizes.iter().flat_map(|size| (*size as u32).to_be_bytes())).collect::<Vec<u8>>()
    };
    for split in ["train", "test"] {
        let mut images = header(&[IMAGES, side, side, 3]);
        images.extend((0..IMAGES * side * side * 3).map(|_| random.below(256) as u8));
        let mut labels = header(&[IMAGES]);
        labels.extend((0..IMAGES).map(|image| (image % CLASSES) as u8));
        fs::write(folder.join(format!("{split}-images.idx4-ubyte")), images)?;
        fs::write(folder.join(format!("{split}-labels.idx1-ubyte")), labels)?;
    }
    Ok(())
}
