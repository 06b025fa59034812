//! From a picture's bytes to the numbers that a network reads, as the folder's own file defines it: resizing, cropping and scaling.

use super::resample::{Filter, resize};
use crate::Result;
use crate::encoders::folder::Folder;
use crate::encoders::refused;
use serde::Deserialize;

/// The longest side of what a network reads.
const LONGEST: usize = 1024;

/// A size as the files spell it: one side, or both.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
enum Size {
    Side(usize),
    Sides { height: usize, width: usize },
    Shortest { shortest_edge: usize },
}

/// `preprocessor_config.json`.
#[derive(Clone, Debug, Deserialize)]
struct Stated {
    #[serde(default)]
    image_processor_type: Option<String>,
    #[serde(default)]
    feature_extractor_type: Option<String>,
    #[serde(default = "yes")]
    do_resize: bool,
    #[serde(default)]
    size: Option<Size>,
    #[serde(default)]
    resample: Option<u8>,
    #[serde(default)]
    do_center_crop: Option<bool>,
    #[serde(default)]
    crop_size: Option<Size>,
    #[serde(default)]
    crop_pct: Option<f64>,
    #[serde(default = "yes")]
    do_rescale: bool,
    #[serde(default = "byte")]
    rescale_factor: f64,
    #[serde(default)]
    rescale_offset: bool,
    #[serde(default = "yes")]
    do_normalize: bool,
    #[serde(default)]
    include_top: bool,
    #[serde(default)]
    image_mean: Option<[f64; 3]>,
    #[serde(default)]
    image_std: Option<[f64; 3]>,
}

/// `pretrained_cfg` of a timm folder's `config.json`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TimmSettings {
    input_size: [usize; 3],
    #[serde(default = "timm_crop")]
    crop_pct: f64,
    #[serde(default)]
    crop_mode: Option<String>,
    #[serde(default)]
    interpolation: Option<String>,
    mean: [f64; 3],
    std: [f64; 3],
}

fn yes() -> bool {
    true
}

fn byte() -> f64 {
    1.0 / 255.0
}

fn timm_crop() -> f64 {
    0.875
}

/// What a picture is resized to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Target {
    Unchanged,
    /// Height and width, whatever the picture's.
    Exact([usize; 2]),
    /// The shorter side; the other keeps the shape.
    Shortest(usize),
}

/// How pictures are made ready.
#[derive(Clone, Debug)]
pub(super) struct Preprocess {
    target: Target,
    filter: Filter,
    crop: Option<[usize; 2]>,
    /// Whether half pixels of a crop round to even, as torchvision does, and not down.
    rounded: bool,
    /// What a byte is multiplied with, and what is added to it, in each channel.
    scale: [f64; 3],
    offset: [f64; 3],
}

impl Preprocess {
    /// According to `preprocessor_config.json`.
    pub(super) fn open(folder: &Folder) -> Result<Self> {
        let stated: Stated = folder.settings("preprocessor_config.json")?;
        let kind = stated.image_processor_type.as_deref().or(stated.feature_extractor_type.as_deref());
        let kind = kind.unwrap_or_default();
        let filter = Filter::of(stated.resample.unwrap_or(if kind.starts_with("EfficientNet") { 0 } else { 2 }))
            .ok_or_else(|| refused("preprocessor_config.json: its resampling is unknown"))?;
        let missing = || refused("preprocessor_config.json has no size");
        // Processors of this family crop whenever the picture is small.
        let crops = stated.do_center_crop.unwrap_or(!kind.starts_with("ViT") && stated.crop_size.is_some());
        let (mut target, mut crop) = (Target::Unchanged, None);
        if stated.do_resize {
            target = match stated.size.ok_or_else(missing)? {
                Size::Side(side) if crops => Target::Shortest(side),
                Size::Side(side) => Target::Exact([side, side]),
                Size::Sides { height, width } => Target::Exact([height, width]),
                Size::Shortest { shortest_edge } => Target::Shortest(shortest_edge),
            };
        }
        match (target, kind.starts_with("ConvNext")) {
            (Target::Shortest(side), true) if side < 384 => {
                let share = stated.crop_pct.unwrap_or(224.0 / 256.0);
                target = Target::Shortest((side as f64 / share) as usize);
                crop = Some([side, side]);
            }
            (Target::Shortest(side), true) => target = Target::Exact([side, side]),
            _ if crops => {
                crop = Some(match stated.crop_size.or(stated.size).ok_or_else(missing)? {
                    Size::Side(side) | Size::Shortest { shortest_edge: side } => [side, side],
                    Size::Sides { height, width } => [height, width],
                });
            }
            _ => {}
        }
        let (mut scale, mut offset) = ([1.0; 3], [0.0; 3]);
        if stated.do_rescale {
            scale = [stated.rescale_factor; 3];
            if stated.rescale_offset {
                offset = [-1.0; 3];
            }
        }
        let (mean, std) = (stated.image_mean.unwrap_or([0.5; 3]), stated.image_std.unwrap_or([0.5; 3]));
        for channel in 0..3 {
            if stated.do_normalize {
                scale[channel] /= std[channel];
                offset[channel] = (offset[channel] - mean[channel]) / std[channel];
            }
            if stated.include_top {
                scale[channel] /= std[channel];
                offset[channel] /= std[channel];
            }
        }
        Self { target, filter, crop, rounded: false, scale, offset }.checked()
    }

    /// According to timm's settings.
    pub(super) fn timm(settings: &TimmSettings) -> Result<Self> {
        let [channels, height, width] = settings.input_size;
        if channels != 3 || height != width || settings.crop_mode.as_deref().is_some_and(|mode| mode != "center") {
            return Err(refused("config.json: only colour pictures that are cropped to a square are supported"));
        }
        let filter = match settings.interpolation.as_deref() {
            Some("bilinear") => Filter::Bilinear,
            None | Some("bicubic") => Filter::Bicubic,
            Some("lanczos") => Filter::Lanczos,
            Some(other) => return Err(refused(format!("config.json: the interpolation {other:?} is unknown"))),
        };
        let (mut scale, mut offset) = ([byte(); 3], [0.0; 3]);
        for channel in 0..3 {
            scale[channel] /= settings.std[channel];
            offset[channel] = -settings.mean[channel] / settings.std[channel];
        }
        let side = (height as f64 / settings.crop_pct.clamp(0.1, 1.0)) as usize;
        let crop = Some([height, width]);
        Self { target: Target::Shortest(side), filter, crop, rounded: true, scale, offset }.checked()
    }

    fn checked(self) -> Result<Self> {
        let sides: Vec<usize> = match self.target {
            Target::Unchanged => Vec::new(),
            Target::Exact(sides) => sides.to_vec(),
            Target::Shortest(side) => vec![side],
        };
        let known = self.crop.is_some() || matches!(self.target, Target::Exact(_));
        let all = sides.iter().chain(self.crop.iter().flatten());
        if !known || all.clone().any(|side| !(1..=LONGEST).contains(side)) {
            return Err(refused(format!("it reads pictures of no fixed size, or none in 1..={LONGEST}")));
        }
        if !self.scale.iter().chain(&self.offset).all(|x| x.is_finite()) {
            return Err(refused("its mean and deviation are no numbers"));
        }
        Ok(self)
    }

    /// Height and width of what the network reads.
    pub(super) fn size(&self) -> [usize; 2] {
        match (self.crop, self.target) {
            (Some(crop), _) => crop,
            (None, Target::Exact(sides)) => sides,
            _ => [0, 0],
        }
    }

    /// The numbers of a picture of RGB bytes `[height, width, 3]`, in the same order.
    pub(super) fn apply(&self, bytes: Vec<u8>, side: [usize; 2]) -> Vec<f32> {
        let [height, width] = side;
        let to = match self.target {
            Target::Unchanged => side,
            Target::Exact(sides) => sides,
            Target::Shortest(short) => {
                // A long and narrow picture must not become a huge one; what is cut off by the crop is not needed.
                let long = |other: usize, this: usize| ((short * other) as f64 / this as f64) as usize;
                if height <= width { [short, long(width, height)] } else { [long(height, width), short] }
            }
        };
        let to = to.map(|side| side.clamp(1, 16 * LONGEST));
        let bytes = if to == side { bytes } else { resize(&bytes, side, to, self.filter) };
        let size = self.size();
        let start: [isize; 2] = std::array::from_fn(|axis| {
            let spare = to[axis] as isize - size[axis] as isize;
            match self.rounded {
                true => (spare as f64 / 2.0).round_ties_even() as isize,
                false => spare.div_euclid(2),
            }
        });
        let mut out = Vec::with_capacity(size[0] * size[1] * 3);
        for y in 0..size[0] as isize {
            for x in 0..size[1] as isize {
                let (y, x) = (y + start[0], x + start[1]);
                let inside = (0..to[0] as isize).contains(&y) && (0..to[1] as isize).contains(&x);
                for channel in 0..3 {
                    // Beyond a small picture is black.
                    let byte = match inside {
                        true => bytes[(y as usize * to[1] + x as usize) * 3 + channel],
                        false => 0,
                    };
                    out.push((f64::from(byte) * self.scale[channel] + self.offset[channel]) as f32);
                }
            }
        }
        out
    }
}
