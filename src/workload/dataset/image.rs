//! `image`: made-up images and a text of random length.
//!
//! The words of a text are drawn one by one. Images are noise, which no server can have seen before, or white.

use std::sync::Arc;

use clap::{Args, FromArgMatches};
use rand::RngExt as _;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::exact;
use super::lengths::{Opts as Lengths, drawn};
use super::patches::Rule;
use super::picture::{Content, Format, Resolution, Size, data_uri};
use super::placing::Placing;
use super::random_ids::Maker;
use super::{Context, Dataset, Entry, Rows, Templates, Uses, effective, of, params, weight};
use crate::error::Error;
use crate::model::{Prompt, Row};
use crate::rng;

pub(super) const ENTRY: Entry = Entry {
    name: "image",
    about: "made-up images, and tokens of random lengths",
    flags: Opts::augment_args,
    reads: &[
        "random-input-len",
        "random-output-len",
        "random-range-ratio",
        "input-len-dist",
        "output-len-dist",
        "image-count",
        "random-image-count",
        "image-resolution",
        "image-format",
        "image-content",
    ],
    params: |matches| {
        let (opts, lengths) =
            (Opts::from_arg_matches(matches)?, Lengths::from_arg_matches(matches)?);
        params(Ok(Images { opts, lengths }))
    },
    build: |params| {
        let images: Images = of(params)?;
        if images.opts.image_count == 0 {
            return Err("--image-count must be above 0".to_owned());
        }
        Ok(Box::new(images))
    },
    effective: |matches| effective(Opts::from_arg_matches(matches)),
};

const HEADING: &str = "Dataset: image";

/// Images whose number and size together are worth a warning: 1080p, and so many.
const LARGE: u64 = 1920 * 1080;
const MANY: usize = 100;

#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[group(skip)]
struct Opts {
    /// Images of each request
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..), help_heading = HEADING)]
    image_count: u16,
    /// Draw the number of images from 1 to --image-count
    #[arg(long, help_heading = HEADING)]
    random_image_count: bool,
    /// Height and width of the images, which may be drawn from a range
    #[arg(long, help = "4k, 1080p, 720p, 360p, HEIGHTxWIDTH, or random:SMALLEST-LARGEST of those", value_name = "SIZE", default_value = "1080p", help_heading = HEADING)]
    image_resolution: Resolution,
    /// File format
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Jpeg, help_heading = HEADING)]
    image_format: Format,
    /// Noise or white
    #[arg(long, value_name = "CONTENT", value_enum, default_value_t = Content::Random, help_heading = HEADING)]
    image_content: Content,
}

#[derive(Debug, Serialize, Deserialize)]
struct Images {
    #[serde(flatten)]
    opts: Opts,
    #[serde(flatten)]
    lengths: Lengths,
}

/// What all rows are made with.
struct Shared<'a> {
    /// The lengths of each row, of its text and its output.
    targets: &'a [(usize, usize)],
    texts: Maker<'a>,
    rule: Option<Rule>,
    /// The one image, where all are the same.
    image: Option<Arc<str>>,
}

impl Dataset for Images {
    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        super::refuse_ids(context, ENTRY.name)?;
        let Opts { image_resolution: resolution, image_format: format, image_content, .. } =
            &self.opts;
        let draws = self.lengths.draws("image/input-len", "image/output-len")?;
        let lengths = |i| (draws.0.at(context.seed, i), draws.1.at(context.seed, i));
        let targets: Vec<(usize, usize)> = (0..context.n).into_par_iter().map(lengths).collect();
        let image = (*image_content == Content::Blank && resolution.fixed()).then(|| {
            let size = resolution.largest;
            data_uri(&image_content.pixels(size, &mut rng::stream(0, "", 0)), size, *format)
        });
        let placing = Placing::of(context)?;
        let shared = Shared {
            targets: &targets,
            texts: Maker::new(context, &targets, "image/opening")?,
            rule: placing.rule,
            image: image.transpose()?,
        };
        let row = |i| self.row(context, i, &shared);
        let made: Vec<_> = (0..context.n).into_par_iter().map(row).collect::<Result<_, Error>>()?;
        let images: usize = made.iter().map(|(row, ..)| row.images.len()).sum();
        // The lengths of the texts are checked before anything is added to them.
        let (texts, vision): (Vec<_>, Vec<_>) =
            made.into_iter().map(|(row, target, vision)| ((row, target), vision)).unzip();
        let mut rows = exact::checked(context.tokenizer, texts);
        rows.notes.extend(shared.texts.note(&rows.rows));
        rows.rows = std::mem::take(&mut rows.rows)
            .into_par_iter()
            .zip(vision)
            .map(|(row, vision)| placing.place(row, vision))
            .collect::<Result<_, Error>>()?;
        rows.notes.extend(placing.note());
        rows.cached = Some(vec![0; rows.rows.len()]);
        rows.told.extend(self.sizes(context.seed, &rows.rows));
        if resolution.largest.area() >= LARGE && images >= MANY {
            rows.notes.push(format!(
                "{images} images of up to {} pixels (height x width) need much memory here and on the server, and much time to send",
                resolution.largest
            ));
        }
        Ok(rows.with(drawn(&draws, context.seed, context.n)))
    }

    fn bytes(&self, n: usize) -> u64 {
        let Opts { image_count: count, image_resolution: resolution, image_content, .. } =
            &self.opts;
        let text = weight(n, self.lengths.mean_input());
        if *image_content == Content::Blank {
            return text;
        }
        // Noise does not get smaller: a byte of each pixel and more, in base64, in the row and in the body.
        let pixels = resolution.smallest.area().midpoint(resolution.largest.area());
        let images = if self.opts.random_image_count { 1 } else { u64::from(*count) };
        let of_images = pixels.saturating_mul(2).saturating_mul(images).saturating_mul(n as u64);
        text.saturating_add(of_images)
    }

    fn uses(&self) -> Uses {
        Uses {
            images: true,
            template: Templates::Always,
            vocabulary: true,
            salt: true,
            ..Uses::default()
        }
    }
}

impl Images {
    /// Row `i`, the text length that it aims at, and the tokens of its images, where a rule gives them.
    fn row(
        &self,
        context: &Context<'_>,
        i: usize,
        shared: &Shared<'_>,
    ) -> Result<(Row, usize, usize), Error> {
        let (seed, (target, output_len)) = (context.seed, shared.targets[i]);
        let content = context.content();
        let mut rng = rng::stream(content, "image/offset", i as u64);
        let (text, len) = shared.texts.scattered(i, target, &mut rng);
        let images: Vec<(Arc<str>, usize)> = (0..self.count(seed, i))
            .into_par_iter()
            .map(|j| self.image((seed, content), i, j, shared))
            .collect::<Result<_, Error>>()?;
        let vision = images.iter().map(|(_, tokens)| tokens).sum();
        let images = images.into_iter().map(|(image, _)| image).collect();
        Ok((Row { images, ..Row::new(Prompt::Text(text), len, output_len) }, target, vision))
    }

    /// Images of row `i`.
    fn count(&self, seed: u64, i: usize) -> u16 {
        if !self.opts.random_image_count {
            return self.opts.image_count;
        }
        rng::stream(seed, "image/count", i as u64).random_range(1..=self.opts.image_count)
    }

    /// Size of image `j` of row `i`.
    fn size(&self, seed: u64, i: usize, j: u16) -> Size {
        self.opts.image_resolution.draw(&mut rng::stream(seed, "image/size", index(i, j)))
    }

    /// The smallest, largest and mean sides, where sizes are drawn.
    fn sizes(&self, seed: u64, rows: &[Row]) -> Option<String> {
        if self.opts.image_resolution.fixed() {
            return None;
        }
        let of_row = |i| (0..self.count(seed, i)).map(move |j| self.size(seed, i, j));
        let sizes: Vec<Size> = (0..rows.len()).flat_map(of_row).collect();
        let (heights, widths) = (|size: &Size| size.height, |size: &Size| size.width);
        let (rows, columns) = (Sides::of(&sizes, heights)?, Sides::of(&sizes, widths)?);
        Some(format!(
            "image sizes (height x width): {}x{} at least, {}x{} at most, {:.1}x{:.1} on average",
            rows.least, columns.least, rows.most, columns.most, rows.mean, columns.mean
        ))
    }

    /// Image `j` of row `i`, and its tokens, where a rule gives them; the seeds are those of sizes and of pixels.
    fn image(
        &self,
        (seed, content): (u64, u64),
        i: usize,
        j: u16,
        shared: &Shared<'_>,
    ) -> Result<(Arc<str>, usize), Error> {
        let (opts, index, size) = (&self.opts, index(i, j), self.size(seed, i, j));
        let tokens = shared.rule.map_or(Ok(0), |rule| rule.tokens(size))?;
        if let Some(image) = &shared.image {
            return Ok((image.clone(), tokens));
        }
        let mut rng = rng::stream(content, "image/pixels", index);
        let pixels = opts.image_content.pixels(size, &mut rng);
        Ok((data_uri(&pixels, size, opts.image_format)?, tokens))
    }
}

/// The stream of image `j` of row `i`: a row has less images than the factor, so each has one of its own.
fn index(i: usize, j: u16) -> u64 {
    ((i as u64) << 16) | u64::from(j)
}

/// How long one side of several images is, in pixels.
struct Sides {
    least: u32,
    most: u32,
    mean: f64,
}

impl Sides {
    /// The sides that `side` takes of `sizes`; `None` without a size.
    fn of(sizes: &[Size], side: impl Fn(&Size) -> u32) -> Option<Self> {
        let sides = || sizes.iter().map(&side);
        let sum: u64 = sides().map(u64::from).sum();
        Some(Self {
            least: sides().min()?,
            most: sides().max()?,
            mean: sum as f64 / sizes.len() as f64,
        })
    }
}
