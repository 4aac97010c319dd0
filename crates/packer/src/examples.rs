//! Images as a network sees them: decoded, resized and normalized once, before a run begins.

use burn::tensor::{Device, Tensor, TensorData};
use taskvec_bundle::Preprocessing;

use crate::error::{Error, Result};
use taskvec_dataset::Split;

/// Normalized images of one size, with labels. Four bytes for each number of each image.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Examples {
    /// Channels, height, width.
    pub(crate) shape: [usize; 3],
    /// `[count, channels, height, width]`, row-major.
    pub(crate) pixels: Vec<f32>,
    /// One label per image.
    pub(crate) labels: Vec<u32>,
}

impl Examples {
    /// The images of `split`, prepared as `preprocessing` says.
    ///
    /// # Errors
    /// Those of the preprocessing, for an image that it cannot take.
    pub(crate) fn new(split: &Split, preprocessing: &Preprocessing) -> Result<Examples> {
        let shape = [preprocessing.channels(), preprocessing.height(), preprocessing.width()].map(|side| side as usize);
        let mut pixels = Vec::with_capacity(split.len() * preprocessing.pixels_len());
        for image in &split.images {
            let prepared = preprocessing.pixels(image);
            pixels.extend(prepared.map_err(|cause| Error::from_bundle(cause, "prepare an image for the network"))?);
        }
        Ok(Examples { shape, pixels, labels: split.labels.clone() })
    }

    /// Number of images.
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The numbers of one image.
    pub(crate) fn image(&self, index: usize) -> &[f32] {
        let size = self.shape.iter().product::<usize>();
        &self.pixels[index * size..(index + 1) * size]
    }

    /// Copies of the images at `indices`, one after the other, and their labels.
    pub(crate) fn gather(&self, indices: &[usize]) -> (Vec<f32>, Vec<u32>) {
        let pixels = indices.iter().flat_map(|&index| self.image(index)).copied().collect();
        (pixels, indices.iter().map(|&index| self.labels[index]).collect())
    }

    /// Only the first `count` images.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.labels.truncate(count);
        self.pixels.truncate(count * self.shape.iter().product::<usize>());
    }
}

/// At most `most` of them, evenly spread over all.
pub(crate) fn spread(examples: &Examples, most: usize) -> Examples {
    let most = most.min(examples.len());
    let places = (0..most).map(|place| place * examples.len() / most);
    let (pixels, labels) =
        places.map(|at| (examples.image(at), examples.labels[at])).unzip::<_, _, Vec<&[f32]>, Vec<u32>>();
    Examples { shape: examples.shape, pixels: pixels.concat(), labels }
}

/// Images of this shape as the input of a network.
pub(crate) fn input([channels, height, width]: [usize; 3], pixels: Vec<f32>, device: &Device) -> Tensor<4> {
    let batch = pixels.len() / (channels * height * width).max(1);
    Tensor::from_data(TensorData::new(pixels, [batch, channels, height, width]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples(count: u32) -> Examples {
        Examples { shape: [1, 1, 1], pixels: (0..count).map(|at| at as f32).collect(), labels: (0..count).collect() }
    }

    #[test]
    fn fewer_images_are_spread_over_all() {
        assert_eq!(spread(&examples(10), 4).labels, [0, 2, 5, 7]);
        assert_eq!(spread(&examples(10), 4).pixels, [0.0, 2.0, 5.0, 7.0]);
        assert_eq!(spread(&examples(3), 4), examples(3));
    }
}
