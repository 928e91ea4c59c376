//! The picture: for each layer its name, a scale of colours, and its channels.

use super::layers::Layer;
use super::maps::Maps;
use super::text::Typeface;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use wginfer::Error;

/// The picture's width, and the space at its edges.
const WIDTH: u32 = 1600;
const EDGE: u32 = 36;
const ROOM: u32 = WIDTH - 2 * EDGE;
/// Channels side by side, and the space between them.
const COLUMNS: u32 = 8;
const GAP: u32 = 8;
/// Under a layer.
const BETWEEN: u32 = 34;
/// The height of a layer's heading.
const HEADING: u32 = 52;
/// The scale of colours.
const BAR: (u32, u32) = (220, 12);
/// A picture of more rows is refused: nothing shows it.
const MOST_ROWS: u64 = 60_000;

const LARGE: f32 = 26.0;
const NORMAL: f32 = 19.0;
const SMALL: f32 = 15.0;

const GROUND: Rgb<u8> = Rgb([20, 22, 28]);
const LINE: Rgb<u8> = Rgb([52, 56, 66]);
const BRIGHT: Rgb<u8> = Rgb([236, 238, 243]);
const DIM: Rgb<u8> = Rgb([152, 158, 172]);
/// What is not a number.
const ODD: Rgb<u8> = Rgb([255, 0, 144]);

/// Colours from the smallest to the largest value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Colors {
    Viridis,
    Inferno,
    Cividis,
    Turbo,
    Grey,
}

impl Colors {
    fn at(self, share: f64) -> Rgb<u8> {
        let gradient = match self {
            Colors::Viridis => colorous::VIRIDIS,
            Colors::Inferno => colorous::INFERNO,
            Colors::Cividis => colorous::CIVIDIS,
            Colors::Turbo => colorous::TURBO,
            Colors::Grey => {
                let value = (share.clamp(0.0, 1.0) * 255.0).round() as u8;
                return Rgb([value; 3]);
            }
        };
        Rgb(gradient.eval_continuous(share.clamp(0.0, 1.0)).as_array())
    }
}

/// Which values share a scale of colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Scale {
    /// All channels of a layer
    Layer,
    /// Each channel has its own
    Channel,
}

/// How layers are shown.
#[derive(Debug)]
pub(super) struct Style {
    pub(super) channels: usize,
    pub(super) colors: Colors,
    pub(super) scale: Scale,
}

/// What stands at the top.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) model: String,
    pub(super) inputs: Vec<String>,
    pub(super) why: String,
}

/// A number in few characters.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if (0.001..10_000.0).contains(&size) => format!("{value:.3}"),
        _ => format!("{value:.2e}"),
    }
}

/// Where the channels of a layer go.
struct Tiles {
    shown: u32,
    columns: u32,
    /// The size of one channel.
    size: (u32, u32),
}

impl Tiles {
    fn of(maps: &Maps, style: &Style) -> Self {
        let shown = maps.count().min(style.channels) as u32;
        let columns = COLUMNS.min(shown.max(1));
        // A single plane may have half of the width.
        let room = if shown == 1 { ROOM / 2 } else { (ROOM - (COLUMNS - 1) * GAP) / COLUMNS };
        let highest = if shown == 1 { room } else { room * 3 / 2 };
        let (width, height) = (maps.width.max(1) as f64, maps.height.max(1) as f64);
        let scale = (f64::from(room) / width).min(f64::from(highest) / height);
        // A plane much longer than wide is stretched to be seen.
        let side = |own: f64, most: u32| ((own * scale).round() as u32).clamp(10.min(most), most);
        Tiles { shown, columns, size: (side(width, room), side(height, highest)) }
    }

    fn height(&self) -> u32 {
        let rows = self.shown.div_ceil(self.columns);
        rows * (self.size.1 + GAP)
    }

    fn place(&self, index: u32, top: u32) -> (u32, u32) {
        let (row, column) = (index / self.columns, index % self.columns);
        (EDGE + column * (self.size.0 + GAP), top + row * (self.size.1 + GAP))
    }
}

/// Draws the picture.
pub(super) fn draw(
    head: &Head,
    layers: &[(Layer, Maps)],
    style: &Style,
) -> Result<RgbImage, Error> {
    let typeface = Typeface::load()?;
    let tiles: Vec<_> = layers.iter().map(|(_, maps)| Tiles::of(maps, style)).collect();
    let start = EDGE + 46 + 26 * (head.inputs.len() as u32 + 1) + BETWEEN;
    let each = |tiles: &Tiles| u64::from(HEADING) + u64::from(tiles.height()) + u64::from(BETWEEN);
    let rows = u64::from(start) + tiles.iter().map(each).sum::<u64>();
    let height = u32::try_from(rows).ok().filter(|_| rows <= MOST_ROWS);
    let height = height.ok_or_else(|| Error::Limit {
        what: "the picture; ask for fewer layers or channels".into(),
        limit_name: "rows of pixels".into(),
        needed: rows,
        limit: MOST_ROWS,
    })?;
    let mut picture = RgbImage::from_pixel(WIDTH, height, GROUND);
    top(&mut picture, &typeface, head);
    let mut y = start;
    for ((layer, maps), tiles) in layers.iter().zip(&tiles) {
        line(&mut picture, y - BETWEEN / 2);
        heading(&mut picture, &typeface, layer, maps, style, y);
        channels(&mut picture, maps, tiles, style, y + HEADING);
        y += HEADING + tiles.height() + BETWEEN;
    }
    Ok(picture)
}

fn top(picture: &mut RgbImage, typeface: &Typeface, head: &Head) {
    let model = typeface.fitted(&head.model, LARGE, ROOM);
    typeface.draw(picture, &model, (EDGE, EDGE), LARGE, BRIGHT);
    let lines = head.inputs.iter().chain([&head.why]);
    for (i, text) in lines.enumerate() {
        let text = typeface.fitted(text, SMALL, ROOM);
        typeface.draw(picture, &text, (EDGE, EDGE + 42 + 26 * i as u32), SMALL, DIM);
    }
}

fn line(picture: &mut RgbImage, y: u32) {
    for x in EDGE..WIDTH - EDGE {
        picture.put_pixel(x, y, LINE);
    }
}

/// The layer's name on the left, the scale of colours on the right.
fn heading(
    picture: &mut RgbImage,
    typeface: &Typeface,
    layer: &Layer,
    maps: &Maps,
    style: &Style,
    y: u32,
) {
    let left = ROOM - BAR.0 - 2 * GAP - 240;
    let name = typeface.fitted(&layer.value, NORMAL, left);
    typeface.draw(picture, &name, (EDGE, y), NORMAL, BRIGHT);
    let about = typeface.fitted(&about(layer, maps, style), SMALL, ROOM);
    typeface.draw(picture, &about, (EDGE, y + 26), SMALL, DIM);
    let (Some(range), Some((low, high))) = (maps.range, maps.most) else { return };
    if style.scale == Scale::Channel {
        let text = "each channel has its own colours";
        let x = WIDTH - EDGE - typeface.width(text, SMALL);
        return typeface.draw(picture, text, (x, y + 2), SMALL, DIM);
    }
    // The colours at both ends stand for what is beyond as well.
    let sign = |beyond: bool, sign: &str| if beyond { sign.to_string() } else { String::new() };
    let low = sign(range.0 < low, "≤ ") + &number(low);
    let high = sign(range.1 > high, "≥ ") + &number(high);
    let high_at = WIDTH - EDGE - typeface.width(&high, SMALL);
    let bar_at = high_at - GAP - BAR.0;
    let low_at = bar_at - GAP - typeface.width(&low, SMALL);
    typeface.draw(picture, &low, (low_at, y + 2), SMALL, BRIGHT);
    typeface.draw(picture, &high, (high_at, y + 2), SMALL, BRIGHT);
    for x in 0..BAR.0 {
        let color = style.colors.at(f64::from(x) / f64::from(BAR.0 - 1));
        (0..BAR.1).for_each(|dy| picture.put_pixel(bar_at + x, y + 4 + dy, color));
    }
}

fn about(layer: &Layer, maps: &Maps, style: &Style) -> String {
    let extents: Vec<_> = maps.extents.iter().map(usize::to_string).collect();
    let mut text = format!("{}  {}[{}]", layer.operator, maps.ty, extents.join(", "));
    let count = maps.count();
    if count > style.channels {
        text.push_str(&format!("  the first {} of {count} channels", style.channels));
    }
    if let Some((low, high)) = maps.range {
        let (low, high, mean) = (number(low), number(high), number(maps.mean));
        text.push_str(&format!("  min {low}  max {high}  mean {mean}"));
    }
    if maps.odd > 0 {
        text.push_str(&format!("  {} not finite", maps.odd));
    }
    text
}

fn channels(picture: &mut RgbImage, maps: &Maps, tiles: &Tiles, style: &Style, top: u32) {
    for index in 0..tiles.shown {
        let plane = maps.plane(index as usize);
        let range = match style.scale {
            Scale::Layer => maps.most,
            Scale::Channel => ends(plane),
        };
        let tile = tile(maps, plane, range, style.colors, tiles.size);
        let (x, y) = tiles.place(index, top);
        imageops::replace(picture, &tile, i64::from(x), i64::from(y));
    }
}

fn ends(plane: &[f64]) -> Option<(f64, f64)> {
    plane.iter().filter(|v| v.is_finite()).fold(None, |range: Option<(f64, f64)>, &v| {
        Some(range.map_or((v, v), |(low, high)| (low.min(v), high.max(v))))
    })
}

/// A channel in its colours. Few pixels become squares, many are averaged.
fn tile(
    maps: &Maps,
    plane: &[f64],
    range: Option<(f64, f64)>,
    colors: Colors,
    (width, height): (u32, u32),
) -> RgbImage {
    let (low, high) = range.unwrap_or((0.0, 0.0));
    let color = |value: f64| match value {
        v if v.is_nan() => ODD,
        _ if high <= low => colors.at(0.0),
        v => colors.at((v - low) / (high - low)),
    };
    let own = (maps.width as u32, maps.height as u32);
    let small = RgbImage::from_fn(own.0, own.1, |x, y| {
        let at = (y * own.0 + x) as usize;
        // What is beyond the end of a vector has no colour.
        if at < maps.filled { color(plane[at]) } else { GROUND }
    });
    let shrinks = own.0 > width || own.1 > height;
    let filter = if shrinks { FilterType::Triangle } else { FilterType::Nearest };
    imageops::resize(&small, width, height, filter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wginfer::Tensor;

    fn style(channels: usize, scale: Scale) -> Style {
        Style { channels, colors: Colors::Viridis, scale }
    }

    fn maps(extents: &[usize], value: impl Fn(usize) -> f32) -> Maps {
        let values: Vec<f32> = (0..extents.iter().product()).map(value).collect();
        Maps::of(&Tensor::from_f32(extents, &values).unwrap()).unwrap()
    }

    fn drawn(maps: Maps, style: &Style) -> (RgbImage, Tiles) {
        let tiles = Tiles::of(&maps, style);
        let mut picture = RgbImage::from_pixel(WIDTH, tiles.height() + 10, GROUND);
        channels(&mut picture, &maps, &tiles, style, 0);
        (picture, tiles)
    }

    /// The colour in the middle of a channel.
    fn middle(picture: &RgbImage, tiles: &Tiles, index: u32) -> [u8; 3] {
        let (x, y) = tiles.place(index, 0);
        picture.get_pixel(x + tiles.size.0 / 2, y + tiles.size.1 / 2).0
    }

    #[test]
    fn channels_have_the_colours_of_their_values() {
        // Ten channels of 2 x 2 whose value is their number.
        let (picture, tiles) =
            drawn(maps(&[1, 10, 2, 2], |i| (i / 4) as f32), &style(9, Scale::Layer));
        assert_eq!((tiles.shown, tiles.columns), (9, 8));
        for channel in 0..9 {
            let expected = colorous::VIRIDIS.eval_continuous(f64::from(channel) / 9.0).as_array();
            assert_eq!(middle(&picture, &tiles, channel), expected, "{channel}");
        }
    }

    #[test]
    fn a_scale_of_its_own_shows_weak_channels() {
        let values = |i: usize| [0.0, 1.0, 0.0, 100.0][i];
        for (scale, bright) in [(Scale::Layer, false), (Scale::Channel, true)] {
            let (picture, tiles) = drawn(maps(&[1, 2, 1, 2], values), &style(8, scale));
            let (x, y) = tiles.place(0, 0);
            let right = picture.get_pixel(x + tiles.size.0 - 2, y + tiles.size.1 / 2).0;
            assert_eq!(right == Colors::Viridis.at(1.0).0, bright, "{scale:?}");
        }
    }

    #[test]
    fn what_is_not_a_number_stands_out() {
        let (picture, tiles) = drawn(
            maps(&[1, 2, 1, 2], |i| if i == 0 { f32::NAN } else { 1.0 }),
            &style(8, Scale::Layer),
        );
        let (x, y) = tiles.place(0, 0);
        assert_eq!(*picture.get_pixel(x + 1, y + 1), ODD);
    }

    #[test]
    fn a_picture_that_nothing_can_show_is_refused() {
        let layer = Layer { value: "v".into(), node: "n".into(), operator: "Conv".into() };
        let layers = [(layer, maps(&[1, 4000, 8, 8], |i| i as f32))];
        let head = Head { model: "m".into(), inputs: vec![], why: "w".into() };
        assert!(draw(&head, &layers, &style(4000, Scale::Layer)).is_err());
        let fine = draw(&head, &layers, &style(24, Scale::Layer)).unwrap();
        assert_eq!(fine.width(), WIDTH);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(0.0), "0");
        assert_eq!(number(-1.23456), "-1.235");
        assert_eq!(number(1.0e-7), "1.00e-7");
        assert_eq!(number(123_456.0), "1.23e5");
    }
}
