//! Inputs of the network, from any of the bodies that `infer` accepts.
//!
//! Numbers come as the network takes them: `[images, channels, height, width]`, row-major, preprocessed. As JSON they are
//! easy to write; as little-endian f32 they are ten times smaller and are not parsed. An encoded image goes through the
//! base's preprocessing here, as it did when the base was trained.

use std::fmt;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use taskvec_bundle::Preprocessing;
use taskvec_dataset::{DatasetLimits, decode_image};

use crate::content::{Content, content};
use crate::limits::Limits;
use crate::refusal::{Kind, Refusal};

/// Inputs for the network.
///
/// Having `Pixels` tells you: there is at least one image and no more than allowed, each with as many numbers as the
/// network takes, all of them finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Pixels {
    /// `[image_count, channels, height, width]`, row-major.
    pub values: Vec<f32>,
    /// Images of the batch.
    pub image_count: usize,
}

/// The inputs in a body of the given content type.
///
/// # Errors
/// Status 415 for another content type, 413 for more images or larger ones than allowed, 400 for anything else.
pub fn pixels(
    content_type: Option<&str>,
    body: &[u8],
    preprocessing: &Preprocessing,
    limits: &Limits,
) -> Result<Pixels, Refusal> {
    let each = preprocessing.pixels_len();
    let most = each.saturating_mul(limits.images_max);
    let values = match content(content_type, &[Content::Json, Content::Floats, Content::Image])? {
        Content::Json => from_json(body, most)?,
        Content::Floats => from_floats(body, most)?,
        Content::Image => from_image(body, preprocessing, limits)?,
    };
    if values.is_empty() || !values.len().is_multiple_of(each) {
        let (channels, height, width) = (preprocessing.channels(), preprocessing.height(), preprocessing.width());
        let clause = format!("the body has {} numbers, expected a multiple of {each}", values.len());
        return Err(Refusal::usage(clause).with_help(format!("an image takes {channels} x {height} x {width} numbers")));
    }
    if let Some((index, value)) = values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
        return Err(Refusal::usage(format!("number {index} of the body is {value}, expected a finite f32"))
            .with_help("look at what makes the pixels: (pixel - mean) / std of the base is finite for every picture"));
    }
    Ok(Pixels { image_count: values.len() / each, values })
}

fn too_many(most: usize) -> Refusal {
    Refusal::limit(format!("the body has more than the {most} numbers that are allowed in one request"))
        .with_help("ask for fewer images at once, or serve with a larger `--images-max`")
}

fn from_floats(body: &[u8], most: usize) -> Result<Vec<f32>, Refusal> {
    let (numbers, rest) = body.as_chunks::<4>();
    if numbers.len() > most {
        return Err(too_many(most));
    }
    if !rest.is_empty() {
        return Err(Refusal::usage(format!("the body has {} bytes, expected a multiple of 4", body.len()))
            .with_help("write each number as a little-endian f32"));
    }
    Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

fn from_image(body: &[u8], preprocessing: &Preprocessing, limits: &Limits) -> Result<Vec<f32>, Refusal> {
    let limits = DatasetLimits {
        max_side_pixels: limits.image_side_max,
        max_decoded_bytes: limits.image_bytes_max,
        ..DatasetLimits::default()
    };
    let image = decode_image(body, "of the body", &limits).map_err(|cause| {
        let is_limit = cause.kind() == taskvec_dataset::ErrorKind::Limit;
        let clause =
            std::error::Error::source(&cause).map_or_else(|| cause.to_string(), |deeper| format!("{cause}: {deeper}"));
        if is_limit {
            Refusal::limit(clause).with_help("make the image smaller: the network sees no more than its own size")
        } else {
            Refusal::new(400, Kind::Damaged, clause).with_help("send the bytes of one PNG or JPEG file")
        }
    })?;
    preprocessing.pixels(&image).map_err(|cause| Refusal::usage(cause.to_string()))
}

fn from_json(body: &[u8], most: usize) -> Result<Vec<f32>, Refusal> {
    let mut values = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = reader.deserialize_map(Object { values: &mut values, most }).and_then(|()| reader.end());
    match read {
        Ok(()) => Ok(values),
        Err(_) if values.len() > most => Err(too_many(most)),
        Err(cause) => Err(Refusal::usage(format!("the body is no JSON of pixels: {cause}"))
            .with_help(r#"expected is {"pixels": [0.5, -1, ...]}"#)),
    }
}

/// `{"pixels": [...]}`, read by hand so that counting stops what is too long.
struct Object<'a> {
    values: &'a mut Vec<f32>,
    most: usize,
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `pixels`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut is_there = false;
        while let Some(key) = map.next_key::<String>()? {
            if key != "pixels" {
                return Err(de::Error::unknown_field(&key, &["pixels"]));
            }
            if is_there {
                return Err(de::Error::duplicate_field("pixels"));
            }
            is_there = true;
            map.next_value_seed(Numbers { values: self.values, most: self.most })?;
        }
        if is_there { Ok(()) } else { Err(de::Error::missing_field("pixels")) }
    }
}

struct Numbers<'a> {
    values: &'a mut Vec<f32>,
    most: usize,
}

impl<'de> DeserializeSeed<'de> for Numbers<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Numbers<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<(), A::Error> {
        while let Some(number) = numbers.next_element::<f32>()? {
            self.values.push(number);
            if self.values.len() > self.most {
                return Err(de::Error::custom("too many numbers"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::{any, prop, proptest};
    use taskvec_bundle::Resize;

    use super::*;

    const JSON: Option<&str> = Some("application/json");
    const FLOATS: Option<&str> = Some("application/octet-stream");
    const PNG: Option<&str> = Some("image/png");

    /// Takes two numbers an image.
    fn small() -> Preprocessing {
        Preprocessing::new(1, (1, 2), Resize::Bilinear, vec![0.5], vec![0.5]).unwrap()
    }

    fn read(content_type: Option<&str>, body: &[u8]) -> Result<Pixels, Refusal> {
        pixels(content_type, body, &small(), &Limits { images_max: 2, ..Limits::default() })
    }

    #[test]
    fn numbers_are_read_from_json_and_from_floats() {
        let expected = Ok(Pixels { values: vec![0.1, -2.0, 3.0, 0.0], image_count: 2 });
        assert_eq!(read(JSON, b"{\"pixels\": [0.1, -2, 3e0, 0]}"), expected);
        let floats: Vec<u8> = [0.1f32, -2.0, 3.0, 0.0].iter().flat_map(|number| number.to_le_bytes()).collect();
        assert_eq!(read(FLOATS, &floats), expected);
    }

    #[test]
    fn an_image_goes_through_the_preprocessing() {
        // 2 x 1 gray pixels: 0 and 255.
        let white_beside_black = png(2, 1, 0, &[0, 0, 255], &[]);
        assert_eq!(read(PNG, &white_beside_black), Ok(Pixels { values: vec![-1.0, 1.0], image_count: 1 }));
    }

    #[test]
    fn what_is_wrong_has_its_status() {
        struct Case {
            content_type: Option<&'static str>,
            body: Vec<u8>,
            status: u16,
            says: &'static str,
        }
        let case = |content_type, body: &[u8], status, says| Case { content_type, body: body.to_vec(), status, says };
        let nan: Vec<u8> = [1.0, f32::NAN].iter().flat_map(|number: &f32| number.to_le_bytes()).collect();
        let cases = [
            case(None, b"{}", 415, "no content type"),
            case(Some("text/plain"), b"{\"pixels\": [1, 2]}", 415, "`text/plain`"),
            case(JSON, b"", 400, "EOF"),
            case(JSON, b"[1, 2]", 400, "object"),
            case(JSON, b"{}", 400, "missing field `pixels`"),
            case(JSON, b"{\"pixels\": 1}", 400, "array"),
            case(JSON, b"{\"pixels\": [1, \"2\"]}", 400, "f32"),
            case(JSON, b"{\"pixels\": [[1, 2]]}", 400, "f32"),
            case(JSON, b"{\"pixels\": [1, 2], \"pixels\": [1, 2]}", 400, "duplicate"),
            case(JSON, b"{\"pixels\": [1, 2], \"head\": 1}", 400, "unknown field `head`"),
            case(JSON, b"{\"pixels\": [1, 2]} x", 400, "trailing"),
            case(JSON, b"{\"pixels\": [1, NaN]}", 400, "expected value"),
            case(JSON, b"{\"pixels\": [1, 1e39]}", 400, "out of range"),
            case(JSON, b"{\"pixels\": [1, 1e999]}", 400, "out of range"),
            case(JSON, b"{\"pixels\": []}", 400, "0 numbers"),
            case(JSON, b"{\"pixels\": [1]}", 400, "1 numbers, expected a multiple of 2"),
            case(JSON, b"{\"pixels\": [1, 2, 3, 4, 5", 413, "more than the 4 numbers"),
            case(JSON, "[".repeat(100_000).as_bytes(), 400, ""),
            case(FLOATS, &[0; 7], 400, "7 bytes"),
            case(FLOATS, &[0; 4], 400, "multiple of 2"),
            case(FLOATS, &[], 400, "0 numbers"),
            case(FLOATS, &[0; 24], 413, "more than the 4 numbers"),
            case(FLOATS, &nan, 400, "number 1 of the body is NaN"),
            case(PNG, b"", 400, "cannot be decoded"),
            case(PNG, b"\x89PNG\r\n\x1a\nno more", 400, "cannot be decoded"),
            case(PNG, &png(5000, 1, 0, &[0], &[]), 413, "5000 x 1"),
            case(PNG, &png(4096, 4096, 6, &[0], &[]), 400, "cannot be decoded"),
        ];
        let wrong: Vec<String> = cases
            .iter()
            .filter_map(|case| match read(case.content_type, &case.body) {
                Err(refusal) if refusal.status() == case.status && refusal.to_string().contains(case.says) => None,
                other => Some(format!("expected {} `{}`, found {other:?}", case.status, case.says)),
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    proptest! {
        #[test]
        fn json_gives_every_f32_back_bit_for_bit(numbers in prop::array::uniform2(any::<f32>())) {
            let expected: Vec<u32> = numbers.iter().map(|number| number.to_bits()).collect();
            let body = format!("{{\"pixels\": {}}}", serde_json::to_string(&numbers).unwrap());
            match read(JSON, body.as_bytes()) {
                Ok(read) => assert_eq!(read.values.iter().map(|number| number.to_bits()).collect::<Vec<_>>(), expected),
                Err(_) => assert!(numbers.iter().any(|number| !number.is_finite())),
            }
        }

        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            for content_type in [JSON, FLOATS, PNG, Some("image/jpeg"), None] {
                if let Ok(read) = read(content_type, &body) {
                    assert_eq!(read.values.len(), 2 * read.image_count);
                }
            }
        }
    }

    #[test]
    fn a_color_profile_that_unfolds_to_more_than_the_limit_is_not_unfolded() {
        let folded = png(2, 1, 0, &[0, 0, 255], &[0; 200 << 20]);
        assert!(folded.len() < 1 << 20);
        let before = peak_memory_kib();
        assert!(read(PNG, &folded).is_ok_and(|pixels| pixels.values == [-1.0, 1.0]));
        let grown = peak_memory_kib() - before;
        // 64 MiB are allowed, in a vector that doubles.
        assert!(grown < 150 << 10, "{grown} KiB more");
    }

    /// The most memory that this process has had, in KiB; always 0 where the system does not say.
    fn peak_memory_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|line| line.trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
    }

    /// A PNG of 8 bits a sample; `rows` each begin with a filter byte. PNG specification, third edition, sections 5 and 11.
    fn png(width: u32, height: u32, color: u8, rows: &[u8], profile: &[u8]) -> Vec<u8> {
        let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
        header.extend([8, color, 0, 0, 0]);
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        chunk(&mut file, b"IHDR", &header);
        if !profile.is_empty() {
            chunk(&mut file, b"iCCP", &[b"name\0\0", &zlib(profile)[..]].concat());
        }
        chunk(&mut file, b"IDAT", &zlib(rows));
        chunk(&mut file, b"IEND", &[]);
        file
    }

    fn chunk(file: &mut Vec<u8>, name: &[u8; 4], content: &[u8]) {
        file.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
        let mut sum = flate2::Crc::new();
        for part in [name, content] {
            sum.update(part);
            file.extend(part);
        }
        file.extend(sum.sum().to_be_bytes());
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }
}
