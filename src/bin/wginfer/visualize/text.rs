//! Text in pictures, in the typeface Hack.

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use image::{Rgb, RgbImage};
use wginfer::Error;

/// A typeface in which all characters are equally wide.
pub(super) struct Typeface {
    font: FontRef<'static>,
}

impl Typeface {
    pub(super) fn load() -> Result<Self, Error> {
        let font = FontRef::try_from_slice(epaint_default_fonts::HACK_REGULAR);
        let font = font.map_err(|error| Error::Internal(format!("the typeface: {error}")))?;
        Ok(Typeface { font })
    }

    /// The width of a character, in pixels.
    pub(super) fn advance(&self, size: f32) -> f32 {
        self.font.as_scaled(size).h_advance(self.font.glyph_id('0'))
    }

    pub(super) fn width(&self, text: &str, size: f32) -> u32 {
        (self.advance(size) * text.chars().count() as f32).ceil() as u32
    }

    /// As much of a text as fits, its middle left out.
    pub(super) fn fitted(&self, text: &str, size: f32, width: u32) -> String {
        let most = (width as f32 / self.advance(size)) as usize;
        let count = text.chars().count();
        if count <= most {
            return text.to_string();
        }
        let (first, last) = ((most.saturating_sub(1)) / 2, most.saturating_sub(1).div_ceil(2));
        let start = text.chars().take(first);
        start.chain(['…']).chain(text.chars().skip(count - last.min(count))).collect()
    }

    /// Draws text whose upper left corner is at a point.
    pub(super) fn draw(
        &self,
        picture: &mut RgbImage,
        text: &str,
        (x, y): (u32, u32),
        size: f32,
        color: Rgb<u8>,
    ) {
        let scaled = self.font.as_scaled(PxScale::from(size));
        let baseline = y as f32 + scaled.ascent();
        for (i, character) in text.chars().enumerate() {
            let left = x as f32 + i as f32 * self.advance(size);
            let id = self.font.glyph_id(character);
            let glyph = id.with_scale_and_position(size, point(left, baseline));
            self.glyph(picture, glyph, color);
        }
    }

    fn glyph(&self, picture: &mut RgbImage, glyph: Glyph, color: Rgb<u8>) {
        let Some(outline) = self.font.outline_glyph(glyph) else { return };
        let (width, height) = picture.dimensions();
        let bounds = outline.px_bounds();
        outline.draw(|dx, dy, covered| {
            let (x, y) = (bounds.min.x + dx as f32, bounds.min.y + dy as f32);
            if x >= 0.0 && y >= 0.0 && (x as u32) < width && (y as u32) < height {
                blend(picture.get_pixel_mut(x as u32, y as u32), color, covered);
            }
        });
    }
}

fn blend(pixel: &mut Rgb<u8>, color: Rgb<u8>, share: f32) {
    for (old, new) in pixel.0.iter_mut().zip(color.0) {
        let share = share.clamp(0.0, 1.0);
        *old = (f32::from(*old) * (1.0 - share) + f32::from(new) * share).round() as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_too_long_loses_its_middle() {
        let typeface = Typeface::load().unwrap();
        let room = typeface.width("123456789", 16.0);
        assert_eq!(typeface.fitted("abcdefghi", 16.0, room), "abcdefghi");
        let short = typeface.fitted("abcdefghijklm", 16.0, room);
        assert_eq!(short, "abcd…jklm");
    }

    #[test]
    fn characters_leave_their_mark_within_the_picture() {
        let typeface = Typeface::load().unwrap();
        let mut picture = RgbImage::new(40, 20);
        typeface.draw(&mut picture, "M", (2, 2), 16.0, Rgb([255, 255, 255]));
        let lit = picture.enumerate_pixels().filter(|(_, _, p)| p.0[0] > 128);
        let lit: Vec<_> = lit.map(|(x, y, _)| (x, y)).collect();
        assert!(lit.len() > 20 && lit.iter().all(|&(x, y)| x < 14 && y < 19), "{lit:?}");
        // What is outside is not drawn, and no harm.
        typeface.draw(&mut picture, "MMMMMMMM", (30, 15), 16.0, Rgb([255, 0, 0]));
    }
}
