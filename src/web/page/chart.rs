//! Line charts as SVG, made of elements: fast enough for every frame, whatever the number of steps.

use super::dom::{self, add, element, svg};
use crate::report::axis::{Axis, compact};
use crate::report::series::{Point, thin};
use std::fmt::Write as _;
use web_sys::Element;

/// Room for the labels: left, right, top, bottom, in pixels.
const ROOM: [f64; 4] = [44.0, 10.0, 8.0, 22.0];

/// One line: its class, its points, whether it fills the area below, whether its points are marked.
pub struct Line<'a> {
    /// Colour and width, in the style sheet.
    pub class: &'static str,
    /// In the order of the steps.
    pub points: &'a [Point],
    /// Whether the area below is filled.
    pub is_area: bool,
    /// Whether every point has a dot.
    pub has_dots: bool,
}

/// Draws `lines` into the figure with this id; `label` says the same in words.
pub fn draw(id: &str, label: &str, steps: usize, lines: &[Line<'_>]) {
    let figure = element(id);
    let (width, height) = (f64::from(figure.client_width()), f64::from(figure.client_height()));
    if width < 60.0 || height < 40.0 {
        return;
    }
    if lines.iter().all(|line| line.points.is_empty()) {
        dom::clear(&figure);
        return add(&figure, &dom::new("p", "nothing", "Nothing yet"));
    }
    let [left, right, top, bottom] = ROOM;
    let (inner, tall) = (width - left - right, height - top - bottom);
    let values = lines.iter().flat_map(|line| line.points).map(|point| point.1);
    let areas = lines.iter().any(|line| line.is_area);
    let ticks = (tall / 40.0) as usize;
    let y = if areas { Axis::from_zero(values, ticks.max(2)) } else { Axis::around_or_log(values, ticks.max(2)) };
    let x = Axis::steps([0.0, steps.max(1) as f64].into_iter(), (inner / 90.0) as usize);
    let at = |&(step, value): &Point| (left + x.position(step) * inner, top + (1.0 - y.position(value)) * tall);

    let size = format!("0 0 {width} {height}");
    let drawing = svg("svg", &[("viewBox", &size), ("role", "img"), ("aria-label", label)]);
    for tick in y.ticks() {
        let (_, height) = at(&(0.0, tick));
        grid(&drawing, &format!("M{left} {height:.1}H{}", width - right));
        write(&drawing, "end", left - 7.0, height + 4.0, &y.label(tick));
    }
    for tick in x.ticks() {
        let (across, _) = at(&(tick, 0.0));
        write(&drawing, "middle", across, height - 5.0, &x.label(tick));
    }
    grid(&drawing, &format!("M{left} {}H{}", top + tall, width - right));
    for line in lines.iter().filter(|line| !line.points.is_empty()) {
        let points: Vec<(f64, f64)> = thin(line.points, inner as usize).iter().map(at).collect();
        let mut path = String::new();
        for (i, (across, height)) in points.iter().enumerate() {
            // Writing to a string does not fail.
            _ = write!(path, "{}{across:.1} {height:.1}", if i == 0 { 'M' } else { 'L' });
        }
        if line.is_area {
            let first = points[0].0;
            let area = format!("{path}V{}H{first:.1}Z", top + tall);
            add(&drawing, &svg("path", &[("class", &format!("area {}", line.class)), ("d", &area)]));
        }
        add(&drawing, &svg("path", &[("class", &format!("line {}", line.class)), ("d", &path)]));
        if line.has_dots && points.len() <= 100 {
            let dots = points.iter().fold(String::new(), |mut dots, (across, height)| {
                _ = write!(dots, "M{across:.1} {height:.1}h0");
                dots
            });
            add(&drawing, &svg("path", &[("class", &format!("dots {}", line.class)), ("d", &dots)]));
        }
    }
    dom::clear(&figure);
    add(&figure, &drawing);
}

fn grid(drawing: &Element, path: &str) {
    add(drawing, &svg("path", &[("class", "grid"), ("d", path)]));
}

fn write(drawing: &Element, anchor: &str, x: f64, y: f64, text: &str) {
    let element = svg("text", &[("class", anchor), ("x", &format!("{x:.1}")), ("y", &format!("{y:.1}"))]);
    element.set_text_content(Some(text));
    add(drawing, &element);
}

/// How far along the steps of the figure with this id something is that is `x` from the left of the window, from 0 to 1.
pub fn share(id: &str, x: f64) -> f64 {
    let figure = element(id);
    let [left, right, ..] = ROOM;
    let inner = f64::from(figure.client_width()) - left - right;
    ((x - figure.get_bounding_client_rect().left() - left) / inner.max(1.0)).clamp(0.0, 1.0)
}

/// "2.431", or a dash where there is no point.
pub fn last(points: &[Point]) -> String {
    points.last().map_or("–".into(), |point| compact(point.1))
}
