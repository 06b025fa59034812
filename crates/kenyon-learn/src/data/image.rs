//! Images in cells: base64 or raw PNG and JPEG to pixel values, with a limit on their size.

use super::cell::image_body;
use base64::Engine;
use image::{DynamicImage, ImageFormat, ImageReader, RgbImage, imageops::FilterType};
use std::io::Cursor;

/// Pixels an image may have before it is decoded.
const MOST_PIXELS: u64 = 1 << 24;

/// The longest side of images as read, unless a shape is given.
const DEFAULT_SIDE: usize = 64;

/// The bytes of a base64 image, with or without a `data:` prefix.
pub(crate) fn unpack(text: &str) -> Result<Vec<u8>, String> {
    base64::engine::general_purpose::STANDARD
        .decode(image_body(text).trim())
        .map_err(|_| "the image is not valid base64".to_owned())
}

/// Bytes as base64.
pub(super) fn packed(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn reader(bytes: &[u8]) -> Result<ImageReader<Cursor<&[u8]>>, String> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    match reader.format() {
        Some(image::ImageFormat::Png | image::ImageFormat::Jpeg) => Ok(reader),
        _ => Err("the image is neither PNG nor JPEG".into()),
    }
}

/// `[height, width]` an image of this size is read at by default, or why it cannot be read.
pub(super) fn size(bytes: &[u8]) -> Result<Vec<usize>, String> {
    let (width, height) = reader(bytes)?.into_dimensions().map_err(|_| "the image is damaged".to_owned())?;
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(format!("an image of {width}×{height} pixels is too large"));
    }
    let (width, height) = (width as usize, height as usize);
    let longest = width.max(height);
    if longest <= DEFAULT_SIDE {
        return Ok(vec![height, width]);
    }
    let scaled = |side: usize| (side * DEFAULT_SIDE).div_ceil(longest).max(1);
    Ok(vec![scaled(height), scaled(width)])
}

/// Appends the pixels of an image, 0–255, scaled to `shape`: `[height, width]` in grey or
/// `[height, width, 3]` in colour, channels last.
pub(super) fn pixels(bytes: &[u8], shape: &[usize], out: &mut Vec<f32>) -> Result<(), String> {
    size(bytes)?;
    let image = reader(bytes)?.decode().map_err(|_| "the image is damaged".to_owned())?;
    let (height, width) = (shape[0] as u32, shape[1] as u32);
    let image = if (image.width(), image.height()) == (width, height) {
        image
    } else {
        image.resize_exact(width, height, FilterType::Triangle)
    };
    match shape.get(2) {
        Some(3) => out.extend(image.to_rgb8().as_raw().iter().map(|p| f32::from(*p))),
        _ => out.extend(grey(&image).iter().map(|p| f32::from(*p))),
    }
    Ok(())
}

/// The RGB bytes of an image, `[height, width, 3]`, and its height and width.
pub(crate) fn colours(bytes: &[u8]) -> Result<(Vec<u8>, [usize; 2]), String> {
    size(bytes)?;
    let image = reader(bytes)?.decode().map_err(|_| "the image is damaged".to_owned())?.into_rgb8();
    let (width, height) = image.dimensions();
    Ok((image.into_raw(), [height as usize, width as usize]))
}

/// RGB bytes `[height, width, 3]` as PNG in base64; none where there are too few of them.
pub(crate) fn png(bytes: Vec<u8>, [height, width]: [usize; 2]) -> Option<String> {
    let image = RgbImage::from_raw(width as u32, height as u32, bytes)?;
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, ImageFormat::Png).ok()?;
    Some(packed(&file.into_inner()))
}

fn grey(image: &DynamicImage) -> Vec<u8> {
    image.to_luma8().into_raw()
}
