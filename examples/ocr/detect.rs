//! Where text is: a map of how likely each pixel is part of a line, and boxes
//! around its islands (Liao et al., "Real-time scene text detection with
//! differentiable binarization", 2020).

use crate::picture;
use image::{GrayImage, Luma, RgbImage};
use imageproc::contours::find_contours;
use imageproc::drawing::draw_polygon_mut;
use imageproc::geometry::convex_hull;
use imageproc::point::Point;
use std::path::Path;
use wginfer::onnx::{Model, OnnxOptions, OnnxSession};
use wginfer::{Backend, Result};

/// Four corners in pixels, clockwise from the upper left.
pub(crate) type Quad = [(f32, f32); 4];

/// Pictures are enlarged until their shorter side has so many pixels.
const SHORTER_SIDE: f64 = 736.0;
/// What the network halves five times.
const STEP: f64 = 32.0;
/// A pixel is part of a line from this probability on.
const PIXEL: f32 = 0.3;
/// A box is kept from this mean probability within it on.
const BOX: f32 = 0.5;
/// The network finds the middle of lines: boxes grow by area times this over
/// perimeter, on each side.
const GROWTH: f32 = 1.6;
/// The most islands looked at.
const MOST: usize = 1000;
/// Boxes whose tops are nearer than this are side by side.
const SAME_LINE: f32 = 10.0;

/// The detection model on a backend.
#[derive(Debug)]
pub(crate) struct Detector {
    session: OnnxSession,
}

impl Detector {
    pub(crate) fn open(path: &Path, backend: &Backend) -> Result<Self> {
        let session = OnnxSession::new(Model::open(path)?, backend, OnnxOptions::default())?;
        Ok(Detector { session })
    }

    /// Boxes around the lines of a picture, in reading order.
    pub(crate) fn find(&mut self, page: &RgbImage) -> Result<Vec<Quad>> {
        let (width, height) = network_size(page);
        let scaled = picture::scaled(page, width, height);
        let input = picture::tensor(&[scaled], width, height)?;
        let name = self.session.model().inputs()[0].name.clone();
        let outputs = self.session.run_blocking(&[(&name, &input)])?;
        let map = Map { width, height, values: outputs[0].1.to_f32()? };
        let mut quads: Vec<Quad> =
            map.boxes().into_iter().filter_map(|quad| map.on_page(quad, page)).collect();
        sort(&mut quads);
        Ok(quads)
    }
}

/// The size in which the network sees a picture.
fn network_size(page: &RgbImage) -> (u32, u32) {
    let (width, height) = (f64::from(page.width()), f64::from(page.height()));
    let scale = (SHORTER_SIDE / width.min(height)).max(1.0);
    let side = |own: f64| {
        let steps = ((own * scale).trunc() / STEP).round_ties_even();
        (steps.max(1.0) * STEP) as u32
    };
    (side(width), side(height))
}

/// The probability of each pixel to be part of a line.
struct Map {
    width: u32,
    height: u32,
    values: Vec<f32>,
}

impl Map {
    fn at(&self, x: u32, y: u32) -> f32 {
        self.values[(y * self.width + x) as usize]
    }

    /// White where there is text, one pixel wider to the right and below.
    fn mask(&self) -> GrayImage {
        GrayImage::from_fn(self.width, self.height, |x, y| {
            let near = |dx: u32, dy: u32| x >= dx && y >= dy && self.at(x - dx, y - dy) > PIXEL;
            let text = near(0, 0) || near(1, 0) || near(0, 1) || near(1, 1);
            Luma([if text { 255 } else { 0 }])
        })
    }

    /// Boxes around the islands of the map, in its pixels.
    fn boxes(&self) -> Vec<Quad> {
        let contours = find_contours::<i32>(&self.mask());
        contours.into_iter().take(MOST).filter_map(|contour| self.one_box(contour.points)).collect()
    }

    fn one_box(&self, contour: Vec<Point<i32>>) -> Option<Quad> {
        let rectangle = Rectangle::around(contour, 0.0)?;
        if rectangle.shorter() < 3.0 || self.mean_within(&rectangle.corners) < BOX {
            return None;
        }
        let [a, b] = rectangle.sides;
        let growth = a * b * GROWTH / (2.0 * (a + b));
        let grown = Rectangle::around(whole(&rectangle.corners).to_vec(), growth)?;
        (grown.shorter() >= 5.0).then_some(grown.corners)
    }

    /// The mean probability within a box.
    fn mean_within(&self, corners: &Quad) -> f32 {
        let xs = corners.map(|(x, _)| x);
        let ys = corners.map(|(_, y)| y);
        let (left, right) = within(&xs, self.width);
        let (top, bottom) = within(&ys, self.height);
        let mut mask = GrayImage::new(right - left + 1, bottom - top + 1);
        let moved = corners.map(|(x, y)| (x - left as f32, y - top as f32));
        draw_polygon_mut(&mut mask, &whole(&moved), Luma([1]));
        let (mut sum, mut count) = (0.0, 0u32);
        for (x, y, _) in mask.enumerate_pixels().filter(|(_, _, pixel)| pixel.0 == [1]) {
            sum += self.at(left + x, top + y);
            count += 1;
        }
        sum / count.max(1) as f32
    }

    /// A box of the map on the page; `None` where nothing is left of it there.
    fn on_page(&self, quad: Quad, page: &RgbImage) -> Option<Quad> {
        let scaled = |v: f32, from: u32, to: u32| {
            let v = (v / from as f32 * to as f32).round_ties_even();
            v.clamp(0.0, to as f32 - 1.0)
        };
        let quad = quad.map(|(x, y)| {
            (scaled(x, self.width, page.width()), scaled(y, self.height, page.height()))
        });
        let quad = clockwise(quad);
        let side = |a: usize, b: usize| (quad[a].0 - quad[b].0).hypot(quad[a].1 - quad[b].1);
        (side(0, 1).trunc() > 3.0 && side(0, 3).trunc() > 3.0).then_some(quad)
    }
}

/// The pixels from the least to the largest of some coordinates.
fn within(values: &[f32; 4], size: u32) -> (u32, u32) {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min).floor();
    let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max).ceil();
    let last = size as f32 - 1.0;
    (least.clamp(0.0, last) as u32, most.clamp(0.0, last) as u32)
}

fn whole(corners: &Quad) -> [Point<i32>; 4] {
    corners.map(|(x, y)| Point::new(x as i32, y as i32))
}

/// A rectangle at any angle.
struct Rectangle {
    corners: Quad,
    sides: [f32; 2],
}

impl Rectangle {
    /// The smallest rectangle around points, each of which is a disc of this
    /// radius. One of its sides lies along an edge of the convex hull.
    fn around(points: Vec<Point<i32>>, radius: f32) -> Option<Self> {
        let hull = convex_hull(points);
        let edges = hull.iter().zip(hull.iter().cycle().skip(1));
        let along = edges.filter_map(|(a, b)| Self::along(&hull, radius, a, b));
        along.min_by(|a, b| a.area().total_cmp(&b.area()))
    }

    fn along(hull: &[Point<i32>], radius: f32, a: &Point<i32>, b: &Point<i32>) -> Option<Self> {
        let (dx, dy) = ((b.x - a.x) as f32, (b.y - a.y) as f32);
        let length = dx.hypot(dy);
        if length == 0.0 {
            return None;
        }
        let (ux, uy) = (dx / length, dy / length);
        let range = |fx: f32, fy: f32| {
            let values = hull.iter().map(|p| p.x as f32 * fx + p.y as f32 * fy);
            let (least, most) =
                values.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, m), v| (l.min(v), m.max(v)));
            (least - radius, most + radius)
        };
        let (u, v) = (range(ux, uy), range(-uy, ux));
        let corner = |u: f32, v: f32| (u * ux - v * uy, u * uy + v * ux);
        let corners = [corner(u.0, v.0), corner(u.1, v.0), corner(u.1, v.1), corner(u.0, v.1)];
        Some(Rectangle { corners, sides: [u.1 - u.0, v.1 - v.0] })
    }

    fn area(&self) -> f32 {
        self.sides[0] * self.sides[1]
    }

    fn shorter(&self) -> f32 {
        self.sides[0].min(self.sides[1])
    }
}

/// The corners clockwise from the upper left: the two on the left are told apart
/// by their height, as are those on the right.
fn clockwise(mut quad: Quad) -> Quad {
    quad.sort_by(|a, b| a.0.total_cmp(&b.0));
    let [mut a, mut b, mut c, mut d] = quad;
    if a.1 > b.1 {
        std::mem::swap(&mut a, &mut b);
    }
    if c.1 > d.1 {
        std::mem::swap(&mut c, &mut d);
    }
    [a, c, d, b]
}

/// From top to bottom; what is side by side from left to right.
fn sort(quads: &mut [Quad]) {
    quads.sort_by(|a, b| a[0].1.total_cmp(&b[0].1));
    let mut start = 0;
    for end in 1..=quads.len() {
        if end == quads.len() || quads[end][0].1 - quads[end - 1][0].1 >= SAME_LINE {
            quads[start..end].sort_by(|a, b| a[0].0.total_cmp(&b[0].0));
            start = end;
        }
    }
}
