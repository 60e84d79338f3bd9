//! How many tokens an image becomes, where the model's files say.
//!
//! Models of the family of Qwen2-VL scale an image so that its sides are multiples of a patch group and its area keeps
//! within two limits, and make one token of each group. Their `preprocessor_config.json` has the numbers.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::picture::Size;
use crate::error::{Error, Kind};
use crate::workload::hub::{Holds, Hub};
use crate::workload::tokenizer::read_beside;

const FILE: &str = "preprocessor_config.json";

/// Image processors that follow the rule.
const PROCESSORS: [&str; 2] = ["Qwen2VLImageProcessor", "Qwen2VLImageProcessorFast"];

/// What one side may be of the other, at most; such images are refused by the family's processors.
const LONGEST: u32 = 200;

/// The patch rule of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    /// Pixels of a side of a group of patches.
    group: u32,
    /// Fewest pixels of a scaled image.
    fewest: u64,
    /// Most pixels of a scaled image.
    most: u64,
}

#[derive(Deserialize)]
struct Config {
    patch_size: Option<u32>,
    merge_size: Option<u32>,
    min_pixels: Option<u64>,
    max_pixels: Option<u64>,
    #[serde(default)]
    size: Limits,
}

/// Where releases of the family write the limits; sizes of other processors have other keys.
#[derive(Default, Deserialize)]
struct Limits {
    #[serde(alias = "min_pixels")]
    shortest_edge: Option<u64>,
    #[serde(alias = "max_pixels")]
    longest_edge: Option<u64>,
}

impl Rule {
    /// What stands for an image in the texts of the family.
    pub(super) const TAG: &str = "<|vision_start|><|image_pad|><|vision_end|>";

    /// The token in it that becomes many.
    pub(super) const PAD: &str = "<|image_pad|>";

    /// The rule of the model whose tokenizer was found by `name`, if its files have one.
    ///
    /// # Errors
    /// If the file is there and cannot be used.
    pub(super) fn of(name: &str, hub: &Hub) -> Result<Option<Self>, Error> {
        let Some(path) = find(name, hub) else { return Ok(None) };
        let unusable = |what: &str| Error::new(Kind::Input, format!("{} {what}", path.display()));
        let text = read_beside(&path).map_err(|error| unusable("cannot be read").because(error))?;
        Self::parse(&text).map_err(|error| {
            unusable("is not the configuration of an image processor").because(error)
        })
    }

    /// The rule in a configuration; `None` if it is that of another processor.
    fn parse(text: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        // Other processors give their keys other types: their name is looked at first.
        let config: serde_json::Value = serde_json::from_slice(text)?;
        let processor = config["image_processor_type"].as_str().unwrap_or("");
        if !PROCESSORS.contains(&processor) {
            return Ok(None);
        }
        let config: Config = serde_json::from_value(config)?;
        let group = config.patch_size.zip(config.merge_size).and_then(|(a, b)| a.checked_mul(b));
        let fewest = config.min_pixels.or(config.size.shortest_edge);
        let most = config.max_pixels.or(config.size.longest_edge);
        Ok(match (group, fewest, most) {
            (Some(group @ 1..), Some(fewest), Some(most @ 1..)) => {
                Some(Self { group, fewest, most })
            }
            _ => None,
        })
    }

    /// Tokens of an image of `size`.
    ///
    /// # Errors
    /// If one side is more than 200 times the other.
    pub(super) fn tokens(self, size: Size) -> Result<usize, Error> {
        let (short, long) = (size.width.min(size.height), size.width.max(size.height));
        if long > short.saturating_mul(LONGEST) {
            return Err(Error::new(
                Kind::Usage,
                format!(
                    "an image of {size} pixels (height x width) is too narrow for this model: one side may be {LONGEST} times the other at most"
                ),
            )
            .hint("set --image-resolution to sizes that are less narrow"));
        }
        let group = f64::from(self.group);
        let (height, width) = (f64::from(size.height), f64::from(size.width));
        let area = height * width;
        let nearest = |side: f64| (side / group).round_ties_even();
        let (mut rows, mut columns) = (nearest(height), nearest(width));
        let scaled = rows * columns * group * group;
        if scaled > self.most as f64 {
            let shrink = (area / self.most as f64).sqrt();
            let fit = |side: f64| (side / shrink / group).floor();
            (rows, columns) = (fit(height), fit(width));
        } else if scaled < self.fewest as f64 {
            let grow = (self.fewest as f64 / area).sqrt();
            let fit = |side: f64| (side * grow / group).ceil();
            (rows, columns) = (fit(height), fit(width));
        }
        // Sides are bounded, so the product fits.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
        let tokens = (rows.max(1.0) * columns.max(1.0)) as usize;
        Ok(tokens)
    }
}

/// The file beside a tokenizer: in its folder, or in its repository of the Hub.
fn find(name: &str, hub: &Hub) -> Option<PathBuf> {
    let path = Path::new(name);
    if path.exists() {
        let folder = if path.is_dir() { path } else { path.parent()? };
        return Some(folder.join(FILE)).filter(|file| file.exists());
    }
    if !Hub::is_id(name) || name == crate::workload::bundled::NAME {
        return None;
    }
    // Most models have none, which the Hub tells as an error.
    hub.file(Holds::Model, name, FILE).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of Qwen2-VL and Qwen2.5-VL.
    const QWEN2: Rule = Rule { group: 28, fewest: 3136, most: 12_845_056 };

    #[test]
    fn configurations() {
        let qwen2 = r#"{"min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2,
            "image_mean": [0.48, 0.45, 0.4], "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2VLProcessor"}"#;
        let qwen3 = r#"{"size": {"longest_edge": 16777216, "shortest_edge": 65536}, "patch_size": 16, "merge_size": 2,
            "image_processor_type": "Qwen2VLImageProcessorFast"}"#;
        let early = r#"{"size": {"max_pixels": 12845056, "min_pixels": 3136}, "patch_size": 14, "merge_size": 2,
            "image_processor_type": "Qwen2VLImageProcessor"}"#;
        let clip =
            r#"{"size": 336, "patch_size": 14, "image_processor_type": "CLIPImageProcessor"}"#;
        let incomplete = r#"{"patch_size": 14, "image_processor_type": "Qwen2VLImageProcessor"}"#;
        for (text, want) in [
            (qwen2, Some(QWEN2)),
            (early, Some(QWEN2)),
            (qwen3, Some(Rule { group: 32, fewest: 65_536, most: 16_777_216 })),
            (clip, None),
            (incomplete, None),
            ("{}", None),
            ("[]", None),
        ] {
            assert_eq!(Rule::parse(text.as_bytes()).unwrap(), want, "{text}");
        }
        assert!(Rule::parse(b"{").is_err());
        let bad = r#"{"patch_size": "x", "image_processor_type": "Qwen2VLImageProcessor"}"#;
        assert!(Rule::parse(bad.as_bytes()).is_err());
    }

    #[test]
    fn tokens_of_sizes() {
        for (width, height, want) in [
            // Rounded to multiples of 28: 46 x 26, 69 x 39, 23 x 13.
            (1280, 720, 46 * 26),
            (1920, 1080, 69 * 39),
            (640, 360, 23 * 13),
            // The half goes to the even neighbour: 2.5 and 3.5 groups.
            (70, 98, 2 * 4),
            // Too small: grown to at least 3136 pixels.
            (1, 1, 4),
            (28, 28, 4),
            (10, 200, 9),
            // Too large: shrunk to at most 12845056 pixels.
            (8000, 6000, 147 * 110),
            (65_500, 400, 1637 * 10),
        ] {
            assert_eq!(QWEN2.tokens(Size { width, height }).unwrap(), want, "{width}x{height}");
        }
    }

    #[test]
    fn narrow_images_are_refused() {
        assert!(QWEN2.tokens(Size { width: 200, height: 1 }).is_ok());
        let error = QWEN2.tokens(Size { width: 201, height: 1 }).unwrap_err();
        assert!(error.message.contains("1x201"), "{error}");
    }
}
