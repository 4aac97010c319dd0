//! Random changes of a training image: shift, rotation, size, erasing.
//!
//! Works on what the network sees (normalized `[channels, height, width]`), so that an image is decoded and resized once.
//! Sine and cosine come from `libm`: the same bits on every machine.

use crate::random::Random;
use crate::recipe::AugmentationRecipe;

/// Writes a changed copy of `pixels` to `out`. Every call draws the same count of numbers from `random`, whatever is
/// switched on, so that one setting does not change what the others draw.
///
/// Positions that fall outside take the background: the median of the image's own border, channel by channel. (The nearest
/// edge pixel, which serves photographs, draws streaks out of every stroke that touches the border.) An erased rectangle
/// becomes 0, the mean of the normalization.
///
/// # Shapes
/// `pixels` and `out`: `[channels, height, width]`, row-major. Lengths that do not fit are cut to the shorter.
pub(crate) fn augment(
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
    let shear = symmetric(recipe.shear);
    let erased = rectangle(height, width, recipe.erase, random);
    let plane = height * width;
    if plane == 0 {
        return;
    }
    let view = View::new(height, width, shift, degrees, size, shear);
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
    /// `shift` is (x, y) in pixels; the image turns by `degrees`, grows by `size` and slants by `shear` about its center.
    fn new(height: usize, width: usize, shift: [f32; 2], degrees: f32, size: f32, shear: f32) -> View {
        let radians = f64::from(degrees).to_radians();
        let (sine, cosine) = (libm::sin(radians) as f32 / size, libm::cos(radians) as f32 / size);
        let center = [(width as f32 - 1.0) / 2.0, (height as f32 - 1.0) / 2.0];
        let matrix = [cosine, sine + shear, -sine, cosine];
        let moved = [center[0] + shift[0], center[1] + shift[1]];
        let offset = [
            center[0] - (matrix[0] * moved[0] + matrix[1] * moved[1]),
            center[1] - (matrix[2] * moved[0] + matrix[3] * moved[1]),
        ];
        View {
            height,
            width,
            matrix,
            offset,
            is_identity: shift == [0.0; 2] && degrees == 0.0 && size == 1.0 && shear == 0.0,
        }
    }

    /// Bilinear, with the background outside.
    fn render(&self, source: &[f32], target: &mut [f32]) {
        let [a, b, c, d] = self.matrix;
        let outside = background(source, self.height, self.width);
        let at = |y: f32, x: f32| {
            let inside = y >= 0.0 && x >= 0.0 && y < self.height as f32 && x < self.width as f32;
            if inside { source[y as usize * self.width + x as usize] } else { outside }
        };
        for (y, row) in target.chunks_exact_mut(self.width).enumerate() {
            for (x, value) in row.iter_mut().enumerate() {
                let (x, y) = (x as f32, y as f32);
                let (x, y) = (a * x + b * y + self.offset[0], c * x + d * y + self.offset[1]);
                let (left, above) = (x.floor(), y.floor());
                let (across, down) = (x - left, y - above);
                let upper = at(above, left) + (at(above, left + 1.0) - at(above, left)) * across;
                let lower = at(above + 1.0, left) + (at(above + 1.0, left + 1.0) - at(above + 1.0, left)) * across;
                *value = upper + (lower - upper) * down;
            }
        }
    }
}

/// The median of the border of an image: what its surroundings most likely look like.
fn background(plane: &[f32], height: usize, width: usize) -> f32 {
    let is_border = |at: usize| {
        let (row, column) = (at / width, at % width);
        row == 0 || column == 0 || row == height - 1 || column == width - 1
    };
    let mut border: Vec<f32> = (0..plane.len()).filter(|at| is_border(*at)).map(|at| plane[at]).collect();
    let middle = border.len() / 2;
    *border.select_nth_unstable_by(middle, f32::total_cmp).1
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
        let view = View::new(5, 6, [1.0, 2.0], 0.0, 1.0, 0.0);
        let picture = picture();
        let mut out = vec![0.0; 30];
        view.render(&picture[..30], &mut out);
        for y in 2..5 {
            for x in 1..6 {
                assert_eq!(out[y * 6 + x], picture[(y - 2) * 6 + x - 1]);
            }
        }
        assert_eq!(out[0], background(&picture[..30], 5, 6));
    }

    #[test]
    fn half_a_turn_reverses_the_image() {
        let view = View::new(5, 6, [0.0; 2], 180.0, 1.0, 0.0);
        let picture = picture();
        let mut out = vec![0.0; 30];
        view.render(&picture[..30], &mut out);
        for (got, want) in out.iter().zip(picture[..30].iter().rev()) {
            assert!((got - want).abs() < 1e-3, "{got} {want}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_image_and_stays_in_range() {
        let recipe = AugmentationRecipe { shift_pixels: 2.0, rotate_degrees: 30.0, scale: 0.2, shear: 0.1, erase: 0.0 };
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
