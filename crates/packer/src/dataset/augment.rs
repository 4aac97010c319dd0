//! Random changes of a training image: shift, rotation, size, erasing.
//!
//! Works on what the network sees (normalized `[channels, height, width]`), so that an image is decoded and resized once.
//! Sine and cosine come from `libm`: the same bits on every machine.

use crate::random::Random;
use crate::recipe::AugmentationRecipe;

/// Writes a changed copy of `pixels` to `out`. Every call draws the same count of numbers from `random`, whatever is
/// switched on, so that one setting does not change what the others draw.
///
/// Positions that fall outside take the nearest edge pixel. An erased rectangle becomes 0, the mean of the normalization.
///
/// # Shapes
/// `pixels` and `out`: `[channels, height, width]`, row-major. Lengths that do not fit are cut to the shorter.
pub fn augment(
    pixels: &[f32],
    [channels, height, width]: [usize; 3],
    recipe: &AugmentationRecipe,
    random: &mut Random,
    out: &mut [f32],
) {
    let mut symmetric = |most: f32| random.between(-most, most);
    let shift = [symmetric(recipe.shift_pixels), symmetric(recipe.shift_pixels)];
    let degrees = symmetric(recipe.rotate_degrees);
    let size = 1.0 + symmetric(recipe.scale);
    let erased = rectangle(height, width, recipe.erase, random);
    let plane = height * width;
    if plane == 0 {
        return;
    }
    let view = View::new(height, width, shift, degrees, size);
    for (source, target) in pixels.chunks_exact(plane).zip(out.chunks_exact_mut(plane)).take(channels) {
        if view.is_identity {
            target.copy_from_slice(source);
        } else {
            view.render(source, target);
        }
        if let Some([top, bottom, left, right]) = erased {
            for row in target.chunks_exact_mut(width).take(bottom).skip(top) {
                row[left..right].fill(0.0);
            }
        }
    }
}

/// From a position in the changed image to the position in the original it is taken from.
struct View {
    height: usize,
    width: usize,
    matrix: [f32; 4],
    offset: [f32; 2],
    is_identity: bool,
}

impl View {
    /// `shift` is (x, y) in pixels; the image turns by `degrees` and grows by `size` about its center.
    fn new(height: usize, width: usize, shift: [f32; 2], degrees: f32, size: f32) -> View {
        let radians = f64::from(degrees).to_radians();
        let (sine, cosine) = (libm::sin(radians) as f32 / size, libm::cos(radians) as f32 / size);
        let center = [(width as f32 - 1.0) / 2.0, (height as f32 - 1.0) / 2.0];
        let matrix = [cosine, sine, -sine, cosine];
        let moved = [center[0] + shift[0], center[1] + shift[1]];
        let offset = [
            center[0] - (matrix[0] * moved[0] + matrix[1] * moved[1]),
            center[1] - (matrix[2] * moved[0] + matrix[3] * moved[1]),
        ];
        View { height, width, matrix, offset, is_identity: shift == [0.0; 2] && degrees == 0.0 && size == 1.0 }
    }

    /// Bilinear, with the edge repeated outwards.
    fn render(&self, source: &[f32], target: &mut [f32]) {
        let [a, b, c, d] = self.matrix;
        for (y, row) in target.chunks_exact_mut(self.width).enumerate() {
            for (x, value) in row.iter_mut().enumerate() {
                let (x, y) = (x as f32, y as f32);
                let (left, right, across) = neighbors(a * x + b * y + self.offset[0], self.width);
                let (above, below, down) = neighbors(c * x + d * y + self.offset[1], self.height);
                let at = |y: usize, x: usize| source[y * self.width + x];
                let upper = at(above, left) + (at(above, right) - at(above, left)) * across;
                let lower = at(below, left) + (at(below, right) - at(below, left)) * across;
                *value = upper + (lower - upper) * down;
            }
        }
    }
}

/// The two grid points around `position`, clamped to `0..count`, and the share of the second.
fn neighbors(position: f32, count: usize) -> (usize, usize, f32) {
    let last = count - 1;
    let position = position.clamp(0.0, last as f32);
    let first = position.floor();
    let index = first as usize;
    (index, (index + 1).min(last), position - first)
}

/// `[top, bottom, left, right]` of the rectangle to erase, half-open, each side at most half the image's.
fn rectangle(height: usize, width: usize, probability: f32, random: &mut Random) -> Option<[usize; 4]> {
    let erase = random.uniform() < probability;
    let tall = 1 + random.below(height as u64 / 2) as usize;
    let wide = 1 + random.below(width as u64 / 2) as usize;
    let top = random.below(height.saturating_sub(tall) as u64 + 1) as usize;
    let left = random.below(width.saturating_sub(wide) as u64 + 1) as usize;
    (erase && tall <= height && wide <= width).then(|| [top, top + tall, left, left + wide])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 3] = [2, 5, 6];

    fn picture() -> Vec<f32> {
        (0..60u8).map(f32::from).collect()
    }

    fn changed(recipe: &AugmentationRecipe, seed: u64) -> Vec<f32> {
        let mut out = vec![f32::NAN; 60];
        augment(&picture(), SHAPE, recipe, &mut Random::new(seed, "test"), &mut out);
        out
    }

    #[test]
    fn nothing_switched_on_changes_nothing() {
        assert_eq!(changed(&AugmentationRecipe::default(), 1), picture());
    }

    #[test]
    fn a_whole_pixel_shift_moves_pixels() {
        let view = View::new(5, 6, [1.0, 2.0], 0.0, 1.0);
        let picture = picture();
        let mut out = vec![0.0; 30];
        view.render(&picture[..30], &mut out);
        for y in 2..5 {
            for x in 1..6 {
                assert_eq!(out[y * 6 + x], picture[(y - 2) * 6 + x - 1]);
            }
        }
        assert_eq!(out[0], picture[0]);
    }

    #[test]
    fn half_a_turn_reverses_the_image() {
        let view = View::new(5, 6, [0.0; 2], 180.0, 1.0);
        let picture = picture();
        let mut out = vec![0.0; 30];
        view.render(&picture[..30], &mut out);
        for (got, want) in out.iter().zip(picture[..30].iter().rev()) {
            assert!((got - want).abs() < 1e-3, "{got} {want}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_image_and_stays_in_range() {
        let recipe = AugmentationRecipe { shift_pixels: 2.0, rotate_degrees: 30.0, scale: 0.2, erase: 0.0 };
        let once = changed(&recipe, 4);
        assert_eq!(once, changed(&recipe, 4));
        assert_ne!(once, changed(&recipe, 5));
        assert!(once.iter().all(|value| (0.0..=59.0).contains(value)));
    }

    #[test]
    fn erasing_takes_at_most_a_quarter() {
        let recipe = AugmentationRecipe { erase: 1.0, ..Default::default() };
        for seed in 0..50 {
            let erased = changed(&recipe, seed).iter().zip(picture()).filter(|(now, then)| **now != *then).count();
            assert!((1..=2 * 6).contains(&erased), "seed {seed}: {erased} of 60");
        }
    }
}
