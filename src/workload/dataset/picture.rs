//! Pictures: their sizes, contents and formats, and how they become data URIs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder as _};
use rand::{Rng as _, RngExt as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Kind};
use crate::rng::Stream;

/// Quality of JPEG images, of 100.
const QUALITY: u8 = 85;

/// Longest side, in pixels: the JPEG format has no room for more.
const LONGEST: u32 = 65_500;

/// Most pixels: what a thread can hold many times over.
const LARGEST: u64 = 1 << 28;

/// Width and height in pixels, neither 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
}

impl Size {
    /// Pixels.
    pub fn area(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// Sizes that have names.
const PRESETS: [(&str, Size); 4] = [
    ("4k", Size { width: 3840, height: 2160 }),
    ("1080p", Size { width: 1920, height: 1080 }),
    ("720p", Size { width: 1280, height: 720 }),
    ("360p", Size { width: 640, height: 360 }),
];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, size)) = PRESETS.iter().find(|(name, _)| *name == text) {
            return Ok(*size);
        }
        let side = |text: &str| text.parse().ok().filter(|side| (1..=LONGEST).contains(side));
        let sides = text.split_once('x').map(|(height, width)| (side(height), side(width)));
        let Some((Some(height), Some(width))) = sides else {
            return Err(format!(
                "must be 4k, 1080p, 720p, 360p, or HEIGHTxWIDTH with sides of 1 to {LONGEST} pixels, such as 480x640"
            ));
        };
        let size = Self { width, height };
        if size.area() > LARGEST {
            return Err(format!("must not have more than {LARGEST} pixels"));
        }
        Ok(size)
    }
}

impl fmt::Display for Size {
    /// The height first, as in flags.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

/// One size, or the smallest and the largest of random ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolution {
    pub(super) smallest: Size,
    pub(super) largest: Size,
    /// As it was given.
    text: String,
}

impl Resolution {
    /// Whether all images have the same size.
    pub(super) fn fixed(&self) -> bool {
        self.smallest == self.largest
    }

    /// A size; each side is drawn on its own, both ends included.
    pub(super) fn draw(&self, rng: &mut Stream) -> Size {
        let (low, high) = (self.smallest, self.largest);
        Size {
            width: rng.random_range(low.width..=high.width),
            height: rng.random_range(low.height..=high.height),
        }
    }
}

impl FromStr for Resolution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (smallest, largest) = match text.strip_prefix("random:") {
            None => {
                let size: Size = text.parse().map_err(|error| {
                    format!("{error}; or random:SMALLEST-LARGEST with two of those")
                })?;
                (size, size)
            }
            Some(bounds) => {
                let (low, high) = bounds
                    .split_once('-')
                    .ok_or("random: must be followed by two sizes, such as random:360p-1080p")?;
                let bound = |text: &str| {
                    text.parse::<Size>().map_err(|error| format!("the bound `{text}` {error}"))
                };
                (bound(low)?, bound(high)?)
            }
        };
        if smallest.width > largest.width || smallest.height > largest.height {
            return Err(format!("the smallest size {smallest} exceeds the largest {largest}"));
        }
        Ok(Self { smallest, largest, text: text.to_owned() })
    }
}

impl Serialize for Resolution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Resolution {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(de::Error::custom)
    }
}

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "help texts are made of doc comments")]
pub enum Format {
    // Plain comments: others would become help texts.
    // Of quality 85, its colours at half the resolution.
    Jpeg,
    // Without loss.
    Png,
}

impl Format {
    /// The name of the format in a media type.
    fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
        }
    }
}

/// What images show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "help texts are made of doc comments")]
pub enum Content {
    // Each channel of each pixel on its own.
    Random,
    // White.
    Blank,
}

impl Content {
    /// Red, green and blue of each pixel, row by row.
    pub fn pixels(self, size: Size, rng: &mut Stream) -> Vec<u8> {
        // Sizes are checked: the product fits.
        let bytes = usize::try_from(size.area() * 3).unwrap_or(usize::MAX);
        match self {
            Self::Blank => vec![u8::MAX; bytes],
            Self::Random => {
                let mut pixels = vec![0; bytes];
                rng.fill_bytes(&mut pixels);
                pixels
            }
        }
    }
}

/// A JPEG image of noise as a data URI.
///
/// # Errors
/// If a side is 0, or the format has no room for so many pixels.
pub fn noise(size: Size, rng: &mut Stream) -> Result<Arc<str>, Error> {
    let is_empty = size.width == 0 || size.height == 0;
    if is_empty || size.width.max(size.height) > LONGEST || size.area() > LARGEST {
        let message = format!("no image has {size} pixels (height x width)");
        return Err(Error::new(Kind::Usage, message)
            .hint(format!("sides may be 1 to {LONGEST}, and pixels up to {LARGEST}")));
    }
    data_uri(&Content::Random.pixels(size, rng), size, Format::Jpeg)
}

/// The file of an image or a sound as a data URI, if it is one by its first bytes.
pub fn of_file(bytes: &[u8]) -> Option<String> {
    const TYPES: [(&[u8], &str); 5] = [
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"\x89PNG", "image/png"),
        (b"GIF8", "image/gif"),
        (b"RIFF", "image/webp"),
        (b"BM", "image/bmp"),
    ];
    let (_, kind) = TYPES.iter().find(|(magic, _)| bytes.starts_with(magic))?;
    let is_sound = bytes.get(8..12) == Some(b"WAVE");
    let kind = if is_sound { "audio/wav" } else { kind };
    Some(format!("data:{kind};base64,{}", STANDARD.encode(bytes)))
}

/// `pixels` of `size`, three bytes each, as a data URI.
///
/// # Errors
/// If the encoder fails, which checked sizes give it no reason to.
pub fn data_uri(pixels: &[u8], size: Size, format: Format) -> Result<Arc<str>, Error> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(Kind::System, format!("cannot encode an image of {size} pixels")).because(error)
    };
    let mut file = Vec::with_capacity(pixels.len() / 2);
    match format {
        Format::Jpeg => {
            let side = |side: u32| u16::try_from(side).unwrap_or(u16::MAX);
            jpeg_encoder::Encoder::new(&mut file, QUALITY)
                .encode(pixels, side(size.width), side(size.height), jpeg_encoder::ColorType::Rgb)
                .map_err(|error| failed(error.into()))?;
        }
        Format::Png => PngEncoder::new(&mut file)
            .write_image(pixels, size.width, size.height, ExtendedColorType::Rgb8)
            .map_err(|error| failed(error.into()))?,
    }
    let mut uri = format!("data:image/{};base64,", format.name());
    uri.reserve_exact(file.len().div_ceil(3) * 4);
    STANDARD.encode_string(&file, &mut uri);
    Ok(uri.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    fn size(width: u32, height: u32) -> Size {
        Size { width, height }
    }

    #[test]
    fn resolutions() {
        for (text, smallest, largest) in [
            ("4k", size(3840, 2160), size(3840, 2160)),
            ("1080p", size(1920, 1080), size(1920, 1080)),
            ("720p", size(1280, 720), size(1280, 720)),
            ("360p", size(640, 360), size(640, 360)),
            ("480x640", size(640, 480), size(640, 480)),
            ("1x1", size(1, 1), size(1, 1)),
            ("random:360p-1080p", size(640, 360), size(1920, 1080)),
            ("random:10x20-720p", size(20, 10), size(1280, 720)),
            ("random:10x20-10x20", size(20, 10), size(20, 10)),
        ] {
            let got: Resolution = text.parse().unwrap();
            assert_eq!((got.smallest, got.largest), (smallest, largest), "{text}");
            assert_eq!(got.fixed(), smallest == largest, "{text}");
            assert_eq!(serde_json::to_value(&got).unwrap(), text);
        }
    }

    #[test]
    fn resolutions_that_are_none_say_what_was_expected() {
        for (text, says) in [
            ("", "1080p"),
            ("2k", "HEIGHTxWIDTH"),
            ("0x10", "1 to 65500"),
            ("10x", "HEIGHTxWIDTH"),
            ("-1x10", "HEIGHTxWIDTH"),
            ("10x10x10", "HEIGHTxWIDTH"),
            ("65501x1", "1 to 65500"),
            ("65500x65500", "more than"),
            ("random:", "two sizes"),
            ("random:720p", "two sizes"),
            ("random:720p-", "bound ``"),
            ("random:x-720p", "bound `x`"),
            ("random:1080p-720p", "exceeds"),
            ("random:10x20-20x10", "exceeds"),
        ] {
            let error = text.parse::<Resolution>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn drawn_sizes_reach_both_ends() {
        let resolution: Resolution = "random:2x5-4x6".parse().unwrap();
        let draws: Vec<Size> =
            (0..200).map(|i| resolution.draw(&mut rng::stream(1, "x", i))).collect();
        let ends = |side: fn(&Size) -> u32| {
            let sides = || draws.iter().map(side);
            (sides().min(), sides().max())
        };
        assert_eq!(ends(|size| size.height), (Some(2), Some(4)));
        assert_eq!(ends(|size| size.width), (Some(5), Some(6)));
    }

    /// The image of a data URI, and its media type.
    fn read(uri: &str) -> (image::RgbImage, &str) {
        let (kind, data) = uri.strip_prefix("data:").unwrap().split_once(";base64,").unwrap();
        let image = image::load_from_memory(&STANDARD.decode(data).unwrap()).unwrap();
        assert_eq!(image.color(), image::ColorType::Rgb8);
        (image.into_rgb8(), kind)
    }

    #[test]
    fn images_are_read_back_with_their_size() {
        // Sizes that are no multiple of a block, and the thinnest.
        for size in [size(64, 48), size(37, 53), size(1, 1), size(3, 1), size(1, 200)] {
            for (format, kind) in [(Format::Jpeg, "image/jpeg"), (Format::Png, "image/png")] {
                for content in [Content::Random, Content::Blank] {
                    let pixels = content.pixels(size, &mut rng::stream(1, "x", 0));
                    let uri = data_uri(&pixels, size, format).unwrap();
                    let (image, got) = read(&uri);
                    let what = format!("{size} {format:?} {content:?}");
                    assert_eq!(
                        (image.width(), image.height()),
                        (size.width, size.height),
                        "{what}"
                    );
                    assert_eq!(got, kind, "{what}");
                    if format == Format::Png {
                        assert_eq!(image.as_raw(), &pixels, "{what}");
                    }
                    if content == Content::Blank {
                        assert!(image.as_raw().iter().all(|&byte| byte == 255), "{what}");
                    }
                }
            }
        }
    }

    #[test]
    fn noise_uses_all_values_alike() {
        let pixels = Content::Random.pixels(size(256, 256), &mut rng::stream(1, "x", 0));
        let mut counts = [0_u32; 256];
        for &byte in &pixels {
            counts[usize::from(byte)] += 1;
        }
        // 768 of each value are expected, with a deviation of 28.
        assert!(counts.iter().all(|n| (600..950).contains(n)), "{counts:?}");
    }

    #[test]
    fn noise_survives_as_noise() {
        let size = size(64, 64);
        let pixels = Content::Random.pixels(size, &mut rng::stream(1, "x", 0));
        let uri = data_uri(&pixels, size, Format::Jpeg).unwrap();
        let (image, _) = read(&uri);
        let grey = |rgb: &[u8]| rgb.iter().map(|&byte| f64::from(byte)).sum::<f64>() / 3.0;
        let error: f64 = pixels
            .chunks_exact(3)
            .zip(image.as_raw().chunks_exact(3))
            .map(|(a, b)| (grey(a) - grey(b)).powi(2))
            .sum::<f64>()
            / 4096.0;
        assert!(error.sqrt() < 40.0, "{error}");
    }
}
