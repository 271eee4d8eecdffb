//! Line charts as SVG, coloured by the style sheet of the page, so that they follow its light and dark.

use std::io;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use super::escape::escape;
use super::series::{Curves, Point, smooth_points, thin};
use crate::error::{Error, Result};

/// The backend draws at whole pixels: a chart is drawn this many times larger, and shown smaller.
const FINE: u32 = 4;
/// Size of the labels, in the pixels of the chart.
const LABEL: u32 = 12;
/// What plotters takes a font's size times, to get the `font-size` of SVG.
const FONT_SCALE: f64 = 1.24;

/// What something in a chart is, which is how the style sheet colours it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ink {
    /// Lines of the grid.
    Grid,
    /// Labels of the axes.
    Label,
    /// Training loss.
    Train,
    /// Validation loss.
    Valid,
    /// Learning rate.
    Rate,
    /// Gradient norm.
    Norm,
    /// Tokens a second.
    Speed,
}

impl Ink {
    const ALL: [Self; 7] = [Self::Grid, Self::Label, Self::Train, Self::Valid, Self::Rate, Self::Norm, Self::Speed];

    /// The class of the style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Self::Grid => "grid",
            Self::Label => "label",
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Rate => "rate",
            Self::Norm => "norm",
            Self::Speed => "speed",
        }
    }

    /// A colour that stands for the class until [`classes`] puts the class in.
    fn color(self) -> RGBColor {
        RGBColor(0, 0, self as u8)
    }
}

/// How a curve is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    /// A line.
    Line,
    /// A line, and the area below it shaded.
    Area,
    /// A line with a dot at every point.
    Dots,
    /// A ring around every point.
    Ring,
}

/// One curve of a chart.
struct Curve {
    points: Vec<Point>,
    ink: Ink,
    shape: Shape,
    width: u32,
    opacity: f64,
}

/// How large a chart is, in pixels, and how much it shows.
#[derive(Debug, Clone, Copy)]
struct Size {
    width: u32,
    height: u32,
    /// The most ticks of the axis of steps.
    ticks: usize,
    /// Points of a curve are thinned to twice as many.
    buckets: usize,
}

/// The chart of the loss by the width of the window, each with the class that shows it there.
const LOSS: [(&str, Size); 3] = [
    ("narrow", Size { width: 360, height: 250, ticks: 5, buckets: 220 }),
    ("medium", Size { width: 680, height: 300, ticks: 8, buckets: 400 }),
    ("wide", Size { width: 1080, height: 340, ticks: 10, buckets: 600 }),
];
/// For charts that stand beside each other.
const SMALL: Size = Size { width: 360, height: 210, ticks: 5, buckets: 220 };

/// The most ticks of the axis of values.
const VALUE_TICKS: usize = 5;
/// Evaluations get dots up to this number.
const DOTS: usize = 60;

/// The loss, raw and smoothed, and the validation loss: a class for windows of some width, and the chart for them.
pub fn loss(curves: &Curves, label: &str) -> Result<Vec<(&'static str, String)>> {
    LOSS.into_iter().map(|(class, size)| Ok((class, draw_loss(curves, size, label)?))).collect()
}

fn draw_loss(curves: &Curves, size: Size, label: &str) -> Result<String> {
    let both = || curves.loss.iter().chain(&curves.validation);
    let x = Axis::steps(both().map(|point| point.0), size.ticks);
    let y = Axis::around(both().map(|point| point.1), VALUE_TICKS);
    let smoothed = smooth_points(&curves.loss);
    let shape = if curves.validation.len() <= DOTS { Shape::Dots } else { Shape::Line };
    let lines = [
        Curve {
            points: thin(&curves.loss, size.buckets),
            ink: Ink::Train,
            shape: Shape::Line,
            width: 1,
            opacity: 0.35,
        },
        Curve { points: thin(&smoothed, size.buckets), ink: Ink::Train, shape: Shape::Line, width: 2, opacity: 1.0 },
        Curve { points: thin(&curves.validation, size.buckets), ink: Ink::Valid, shape, width: 2, opacity: 1.0 },
        Curve {
            points: curves.best().into_iter().collect(),
            ink: Ink::Valid,
            shape: Shape::Ring,
            width: 1,
            opacity: 1.0,
        },
    ];
    draw(size, x, y, &lines, label)
}

/// The learning rate.
pub fn learning_rate(points: &[Point], label: &str) -> Result<String> {
    let y = Axis::from_zero(points.iter().map(|point| point.1), VALUE_TICKS);
    let lines =
        [Curve { points: thin(points, SMALL.buckets), ink: Ink::Rate, shape: Shape::Area, width: 2, opacity: 1.0 }];
    draw(SMALL, steps_of(points), y, &lines, label)
}

/// The gradient norm, raw and smoothed; on a logarithmic axis the logarithm is smoothed, or spikes would lift the curve
/// off what is usual.
pub fn grad_norm(points: &[Point], label: &str) -> Result<String> {
    let y = Axis::around_or_log(points.iter().map(|point| point.1), VALUE_TICKS);
    let smoothed = if y.is_log() {
        let logarithms: Vec<Point> = points.iter().map(|&(step, norm)| (step, norm.max(y.low()).ln())).collect();
        smooth_points(&logarithms).into_iter().map(|(step, norm)| (step, norm.exp())).collect()
    } else {
        smooth_points(points)
    };
    draw(SMALL, steps_of(points), y, &raw_and_smooth(points, &smoothed, Ink::Norm, Shape::Line), label)
}

/// Tokens a second, raw and smoothed.
pub fn speed(points: &[Point], label: &str) -> Result<String> {
    let y = Axis::from_zero(points.iter().map(|point| point.1), VALUE_TICKS);
    let curves = raw_and_smooth(points, &smooth_points(points), Ink::Speed, Shape::Area);
    draw(SMALL, steps_of(points), y, &curves, label)
}

fn steps_of(points: &[Point]) -> Axis {
    Axis::steps(points.iter().map(|point| point.0), SMALL.ticks)
}

fn raw_and_smooth(points: &[Point], smoothed: &[Point], ink: Ink, shape: Shape) -> [Curve; 2] {
    [
        Curve { points: thin(points, SMALL.buckets), ink, shape: Shape::Line, width: 1, opacity: 0.35 },
        Curve { points: thin(smoothed, SMALL.buckets), ink, shape, width: 2, opacity: 1.0 },
    ]
}

/// Draws `curves` over a grid. `label` is what a screen reader says.
fn draw(size: Size, x: Axis, y: Axis, curves: &[Curve], label: &str) -> Result<String> {
    let (width, height) = (size.width * FINE, size.height * FINE);
    let mut svg = String::new();
    draw_into(&mut svg, (width, height), x, y, curves)
        .map_err(|error| Error::io("report.html", "drawing a chart", io::Error::other(error.to_string())))?;
    Ok(classes(&svg, width, height, label))
}

type Failure = DrawingAreaErrorKind<io::Error>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Plane<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

fn draw_into(svg: &mut String, size: (u32, u32), x: Axis, y: Axis, curves: &[Curve]) -> Result<(), Failure> {
    let area = SVGBackend::with_string(svg, size).into_drawing_area();
    let longest = y.ticks().into_iter().map(|tick| y.label(tick).len() as u32).max().unwrap_or(0);
    let mut chart = ChartBuilder::on(&area)
        .margin_top(8 * FINE)
        .margin_right(14 * FINE)
        .x_label_area_size(26 * FINE)
        .y_label_area_size((longest * 7 + 14) * FINE)
        .build_cartesian_2d(x, y)?;
    draw_grid(&area, &mut chart, x, y)?;
    for curve in curves {
        let style = curve.ink.color().mix(curve.opacity).stroke_width(curve.width * FINE);
        let points = || curve.points.iter().copied();
        if curve.shape == Shape::Area {
            chart.draw_series(AreaSeries::new(points(), y.low(), curve.ink.color().mix(0.14)))?;
        }
        if curve.shape != Shape::Ring {
            chart.draw_series(LineSeries::new(points(), style))?;
        }
        // A line of one point cannot be seen.
        let dot = |radius, style| move |at| Circle::new(at, radius * FINE, style);
        match curve.shape {
            Shape::Ring => chart.draw_series(points().map(dot(7, style)))?,
            Shape::Dots => chart.draw_series(points().map(dot(3, style.filled())))?,
            _ if curve.points.len() == 1 => chart.draw_series(points().map(dot(3, style.filled())))?,
            _ => continue,
        };
    }
    area.present()
}

/// A line at every tick of the values, and the numbers of the ticks. Not the mesh of plotters: in a browser that one
/// measures its labels in the document, which a worker does not have.
fn draw_grid(area: &Area<'_>, chart: &mut Plane<'_, '_>, x: Axis, y: Axis) -> Result<(), Failure> {
    let line = |value| PathElement::new([(x.low(), value), (x.high(), value)], Ink::Grid.color().stroke_width(FINE));
    chart.draw_series(y.ticks().into_iter().chain([y.low()]).map(line))?;
    let gap = (9 * FINE) as i32;
    let font = ("sans-serif", f64::from(LABEL * FINE) * FONT_SCALE).into_font().color(&Ink::Label.color());
    let left = font.pos(Pos::new(HPos::Right, VPos::Center));
    for tick in y.ticks() {
        let (column, row) = chart.plotting_area().map_coordinate(&(x.low(), tick));
        area.draw_text(&y.label(tick), &left, (column - gap, row))?;
    }
    let below = font.pos(Pos::new(HPos::Center, VPos::Top));
    for (index, tick) in x.ticks().into_iter().enumerate() {
        let (column, row) = chart.plotting_area().map_coordinate(&(tick, y.low()));
        let name = if index == 0 { "step " } else { "" };
        area.draw_text(&format!("{name}{}", x.label(tick)), &below, (column, row + gap))?;
    }
    Ok(())
}

/// The SVG of the backend with classes for colours, without a size of its own, and with `label` for its text.
fn classes(svg: &str, width: u32, height: u32, label: &str) -> String {
    let body = svg.split_once('\n').map_or("", |(_, body)| body);
    let mut body =
        body.replace(" opacity=\"1\"", "").replace(" font-family=\"sans-serif\"", "").replace(" \"/>", "\"/>");
    for ink in Ink::ALL {
        let (color, class) = (format!("#{:06X}", ink as u32), ink.class());
        body = body
            .replace(&format!(" stroke=\"{color}\""), &format!(" class=\"{class}\""))
            .replace(&format!(" fill=\"{color}\""), &format!(" class=\"{class} filled\""));
    }
    let label = escape(label);
    format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">\n{body}")
}
