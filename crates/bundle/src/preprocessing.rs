//! From a picture to the numbers that a network was trained on.
//!
//! In this order: bytes to 0..=1, gray to RGB or back, resize, normalize. The picture is stretched to the target,
//! whatever its proportions: nothing is cropped away. Gray becomes RGB by repetition; RGB becomes gray by the luma of
//! ITU-R BT.601, `0.299 R + 0.587 G + 0.114 B`, which is what Pillow's `convert("L")` takes too. Every step is plain
//! f32 arithmetic in a fixed order, so probes made on a server give the same pixels on a device.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::image::Image;
use crate::resize;

const SUBJECT: &str = "preprocessing";
/// The longest side that is accepted: four times what any known vision model takes. It bounds what a foreign
/// `base.json` or pack can make us allocate to 200 MiB.
const SIDE_MAX: u32 = 4096;
/// ITU-R BT.601-7, section 2.5.1: luma from red, green and blue.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// How pictures of other sizes are brought to the network's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Resize {
    /// Two-sided linear interpolation, antialiased where it shrinks.
    Bilinear,
}

/// What is done to a picture before a network sees it.
///
/// Having a `Preprocessing` tells you: 1 or 3 channels, with a finite mean and a positive deviation for each; sides
/// from 1 to 4096.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Preprocessing {
    channels: u32,
    height: u32,
    width: u32,
    resize: Resize,
    mean: Vec<f32>,
    std: Vec<f32>,
}

/// As it stands in `base.json` or a recipe, before anyone looked at the numbers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    channels: u32,
    height: u32,
    width: u32,
    resize: Resize,
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl TryFrom<Unchecked> for Preprocessing {
    type Error = Error;

    fn try_from(it: Unchecked) -> Result<Preprocessing, Error> {
        Preprocessing::new(it.channels, (it.height, it.width), it.resize, it.mean, it.std)
    }
}

impl TryFrom<taskvec_pack::Preprocessing<'_>> for Preprocessing {
    type Error = Error;

    fn try_from(it: taskvec_pack::Preprocessing<'_>) -> Result<Preprocessing, Error> {
        let resize = match it.resize {
            taskvec_pack::Resize::Bilinear => Resize::Bilinear,
            other => {
                let clause = format!("the pack resizes by {other:?}, which is not known here");
                return Err(
                    Error::new(ErrorKind::Unsupported, SUBJECT, clause).with_help("a newer taskvec may know it")
                );
            }
        };
        Preprocessing::new(it.channels, (it.height, it.width), resize, it.mean().collect(), it.std().collect())
    }
}

impl Preprocessing {
    /// Preprocessing to `channels` planes of `size` (height, width), normalized per channel as `(x - mean) / std` with
    /// `x` in 0..=1.
    ///
    /// # Errors
    ///
    /// `Usage` if the numbers make no picture, `Limit` if a side is longer than 4096.
    pub fn new(
        channels: u32,
        size: (u32, u32),
        resize: Resize,
        mean: Vec<f32>,
        std: Vec<f32>,
    ) -> Result<Preprocessing, Error> {
        let (height, width) = size;
        if channels != 1 && channels != 3 {
            return Err(Error::usage(SUBJECT, format!("{channels} channels, expected 1 (gray) or 3 (RGB)")));
        }
        if height == 0 || width == 0 {
            return Err(Error::usage(SUBJECT, format!("a picture of {height} by {width} pixels has nothing to see")));
        }
        if height > SIDE_MAX || width > SIDE_MAX {
            let clause = format!("{height} by {width} pixels, at most {SIDE_MAX} by {SIDE_MAX} are handled");
            return Err(Error::new(ErrorKind::Limit, SUBJECT, clause));
        }
        for (what, numbers) in [("mean", &mean), ("std", &std)] {
            if numbers.len() != channels as usize {
                let clause =
                    format!("`{what}` has {} numbers, expected one for each of {channels} channels", numbers.len());
                return Err(Error::usage(SUBJECT, clause));
            }
            let wrong = numbers.iter().find(|number| !number.is_finite() || (what == "std" && **number <= 0.0));
            if let Some(wrong) = wrong {
                let expected = if what == "std" { "a number above 0" } else { "a finite number" };
                return Err(Error::usage(SUBJECT, format!("`{what}` is {wrong}, expected {expected}")));
            }
        }
        Ok(Preprocessing { channels, height, width, resize, mean, std })
    }

    /// Planes of the result: 1 for gray, 3 for red, green and blue.
    pub fn channels(&self) -> u32 {
        self.channels
    }

    /// Rows of the result.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Pixels in a row of the result.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// How pictures of other sizes are brought to this one.
    pub fn resize(&self) -> Resize {
        self.resize
    }

    /// What is subtracted, per channel.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// What it is then divided by, per channel.
    pub fn std(&self) -> &[f32] {
        &self.std
    }

    /// Numbers in one picture: channels times height times width.
    pub fn pixels_len(&self) -> usize {
        // At most 3 * 4096 * 4096.
        self.channels as usize * self.height as usize * self.width as usize
    }

    /// The picture as the network wants it.
    ///
    /// # Shapes
    ///
    /// The result is `[channels, height, width]`, row-major.
    ///
    /// # Errors
    ///
    /// `Usage` if the image's bytes do not fit its sizes.
    pub fn pixels(&self, image: &Image) -> Result<Vec<f32>, Error> {
        image.check()?;
        let from = (image.width as usize, image.height as usize);
        let to = (self.width as usize, self.height as usize);
        let mut pixels = Vec::with_capacity(self.pixels_len());
        for (channel, (&mean, &std)) in self.mean.iter().zip(&self.std).enumerate() {
            let plane = match self.resize {
                Resize::Bilinear => resize::bilinear(plane(image, self.channels, channel), from, to),
            };
            pixels.extend(plane.into_iter().map(|pixel| (pixel - mean) / std));
        }
        Ok(pixels)
    }

    /// Only the normalizing: for bytes that have the network's size and order already, as the probes of packs do.
    ///
    /// # Shapes
    ///
    /// `planes` and the result are `[channels, height, width]`, row-major.
    ///
    /// # Errors
    ///
    /// `Usage` if there are not [`pixels_len`](Preprocessing::pixels_len) bytes.
    pub fn normalize(&self, planes: &[u8]) -> Result<Vec<f32>, Error> {
        if planes.len() != self.pixels_len() {
            let clause = format!("takes {} bytes, found {}", self.pixels_len(), planes.len());
            return Err(Error::usage(SUBJECT, clause));
        }
        let planes = planes.chunks_exact(self.pixels_len() / self.channels as usize);
        let normalized = planes.zip(self.mean.iter().zip(&self.std));
        Ok(normalized
            .flat_map(|(plane, (mean, std))| plane.iter().map(move |&byte| (unit(byte) - mean) / std))
            .collect())
    }
}

/// One channel of the picture in 0..=1, at its own size, as a network of `channels` channels sees it.
fn plane(image: &Image, channels: u32, channel: usize) -> Vec<f32> {
    let pixels = image.data.chunks_exact(image.channels as usize);
    match (image.channels, channels) {
        (1, _) => image.data.iter().map(|&byte| unit(byte)).collect(),
        (_, 1) => pixels.map(|rgb| LUMA[0] * unit(rgb[0]) + LUMA[1] * unit(rgb[1]) + LUMA[2] * unit(rgb[2])).collect(),
        _ => pixels.map(|rgb| unit(rgb[channel])).collect(),
    }
}

fn unit(byte: u8) -> f32 {
    f32::from(byte) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preprocessing(channels: u32, height: u32, width: u32) -> Preprocessing {
        let numbers = |number| vec![number; channels as usize];
        Preprocessing::new(channels, (height, width), Resize::Bilinear, numbers(0.5), numbers(0.25)).unwrap()
    }

    fn rgb(pixels: &[[u8; 3]]) -> Image {
        Image { width: pixels.len() as u32, height: 1, channels: 3, data: pixels.concat() }
    }

    #[test]
    fn a_gray_picture_of_the_right_size_is_only_normalized() {
        let image = Image { width: 2, height: 2, channels: 1, data: vec![0, 51, 204, 255] };
        let pixels = preprocessing(1, 2, 2).pixels(&image).unwrap();
        assert_eq!(pixels, [-2.0, (0.2f32 - 0.5) / 0.25, (0.8f32 - 0.5) / 0.25, 2.0]);
    }

    #[test]
    fn colors_become_planes() {
        let pixels = preprocessing(3, 1, 2).pixels(&rgb(&[[255, 0, 0], [0, 255, 255]])).unwrap();
        assert_eq!(pixels, [2.0, -2.0, -2.0, 2.0, -2.0, 2.0]);
    }

    #[test]
    fn gray_is_repeated_and_colors_are_weighed() {
        let gray = Image { width: 1, height: 1, channels: 1, data: vec![255] };
        assert_eq!(preprocessing(3, 1, 1).pixels(&gray).unwrap(), [2.0; 3]);
        let luma = preprocessing(1, 1, 3).pixels(&rgb(&[[255, 0, 0], [0, 255, 0], [0, 0, 255]])).unwrap();
        assert_eq!(luma, LUMA.map(|weight| (weight - 0.5) / 0.25));
    }

    #[test]
    fn other_sizes_are_stretched() {
        let image = Image { width: 4, height: 2, channels: 1, data: vec![255; 8] };
        let pixels = preprocessing(1, 3, 3).pixels(&image).unwrap();
        assert!(pixels.len() == 9 && pixels.iter().all(|pixel| (pixel - 2.0).abs() < 1e-5));
    }

    #[test]
    fn normalizing_alone_is_what_a_picture_of_the_right_size_gets() {
        let image = Image { width: 3, height: 2, channels: 3, data: (0..18).map(|byte| byte * 14).collect() };
        let it = preprocessing(3, 2, 3);
        let planes: Vec<u8> = (0..3).flat_map(|channel| image.data.iter().skip(channel).step_by(3).copied()).collect();
        assert_eq!(it.normalize(&planes).unwrap(), it.pixels(&image).unwrap());
        assert_eq!(it.normalize(&planes[1..]).unwrap_err().to_string(), "preprocessing: takes 18 bytes, found 17");
    }

    #[test]
    fn comes_out_of_a_pack() {
        use taskvec_pack::write::{Builder, PreprocessingParts};
        let (mean, std) = (vec![0.25, 0.5, 0.75], vec![1.0, 2.0, 3.0]);
        let parts = |height| {
            let resize = taskvec_pack::Resize::Bilinear;
            PreprocessingParts { channels: 3, height, width: 2, resize, mean: mean.clone(), std: std.clone() }
        };
        let read = |height| {
            let mut builder = Builder::new(taskvec_pack::Fingerprint([0; 32]), "x");
            let bytes = builder.preprocessing(parts(height)).finish().unwrap();
            let pack = taskvec_pack::Pack::read(&bytes, &taskvec_pack::Limits::default()).unwrap();
            Preprocessing::try_from(pack.preprocessing().unwrap())
        };
        assert_eq!(
            read(4).unwrap(),
            Preprocessing::new(3, (4, 2), Resize::Bilinear, mean.clone(), std.clone()).unwrap()
        );
        assert_eq!(read(5000).unwrap_err().kind(), ErrorKind::Limit);
    }

    #[test]
    fn numbers_that_make_no_picture_are_refused() {
        let new = |channels, height, mean: &[f32], std: &[f32]| {
            Preprocessing::new(channels, (height, 1), Resize::Bilinear, mean.to_vec(), std.to_vec())
        };
        for (result, message) in [
            (new(2, 1, &[0.0; 2], &[1.0; 2]), "preprocessing: 2 channels, expected 1 (gray) or 3 (RGB)"),
            (new(1, 0, &[0.0], &[1.0]), "preprocessing: a picture of 0 by 1 pixels has nothing to see"),
            (new(1, 4097, &[0.0], &[1.0]), "preprocessing: 4097 by 1 pixels, at most 4096 by 4096 are handled"),
            (new(3, 1, &[0.0], &[1.0; 3]), "preprocessing: `mean` has 1 numbers, expected one for each of 3 channels"),
            (new(1, 1, &[0.0], &[]), "preprocessing: `std` has 0 numbers, expected one for each of 1 channels"),
            (new(1, 1, &[0.0], &[0.0]), "preprocessing: `std` is 0, expected a number above 0"),
            (new(1, 1, &[f32::NAN], &[1.0]), "preprocessing: `mean` is NaN, expected a finite number"),
        ] {
            assert_eq!(result.unwrap_err().to_string(), message);
        }
        let wrong_image = Image { width: 9, height: 9, channels: 1, data: vec![] };
        assert_eq!(preprocessing(1, 1, 1).pixels(&wrong_image).unwrap_err().kind(), ErrorKind::Usage);
    }

    #[test]
    fn json_is_checked_on_the_way_in_and_comes_back_as_it_was() {
        let json = r#"{"channels":1,"height":28,"width":28,"resize":"bilinear","mean":[0.1],"std":[0.3]}"#;
        let read: Preprocessing = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
        for (from, to) in [("0.3", "-1"), ("bilinear", "bicubic"), ("\"std\"", "\"deviation\""), ("[0.1]", "[0.1,0.1]")]
        {
            assert!(serde_json::from_str::<Preprocessing>(&json.replace(from, to)).is_err(), "{to}");
        }
    }
}
