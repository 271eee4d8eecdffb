//! The loss curve in the terminal.

use textplots::{AxisBuilder, Chart, LineStyle, Plot, Shape};

use super::axis::{Axis, drawable};
use super::series::{Point, smooth_points, thin};

/// Narrower plots have no room for labels and curve.
const LEAST_COLUMNS: usize = 50;
/// Wider ones are no better to read.
const MOST_COLUMNS: usize = 160;
/// Dots of Braille in a cell, across and down.
const DOTS: (usize, usize) = (2, 4);
/// How an evaluation is marked.
const MARK: char = '●';
/// From this number of steps on the training loss is smoothed.
const SMOOTHED_FROM: usize = 20;

/// The training loss (smoothed) as a line and every evaluation as a dot, with axes, `columns` wide. `color` adds
/// colours for terminals. Empty without a finite value.
pub fn loss_curve(train: &[(usize, f64)], valid: &[(usize, f64)], columns: usize, color: bool) -> String {
    let points = |values: &[(usize, f64)]| -> Vec<Point> {
        values.iter().filter(|value| drawable(value.1)).map(|&(step, value)| (step as f64, value)).collect()
    };
    let (mut train, valid) = (points(train), points(valid));
    if train.is_empty() && valid.is_empty() {
        return String::new();
    }
    let smoothed = train.len() >= SMOOTHED_FROM;
    if smoothed {
        train = smooth_points(&train);
    }
    let plot = Plotted::new(&train, &valid, columns.clamp(LEAST_COLUMNS, MOST_COLUMNS));
    plot.draw(&train, &valid, smoothed, Colors { on: color })
}

/// Axes and the room for the curve, in cells.
struct Plotted {
    x: Axis,
    y: Axis,
    labels: Vec<(usize, String)>,
    label_width: usize,
    columns: usize,
    rows: usize,
}

impl Plotted {
    fn new(train: &[Point], valid: &[Point], columns: usize) -> Self {
        let both = || train.iter().chain(valid);
        let rows = (columns / 6).clamp(8, 16);
        let y = Axis::around(both().map(|point| point.1), rows / 2);
        let labels: Vec<(usize, String)> =
            y.ticks().into_iter().map(|tick| (row(y.position(tick), rows), y.label(tick))).collect();
        let label_width = labels.iter().map(|(_, label)| label.chars().count()).max().unwrap_or(0);
        let columns = columns.saturating_sub(label_width + 2).max(16);
        let x = Axis::steps(both().map(|point| point.0), columns / 10);
        Self { x, y, labels, label_width, columns, rows }
    }

    fn draw(&self, train: &[Point], valid: &[Point], smoothed: bool, colors: Colors) -> String {
        let mut cells = self.line(train);
        for &(step, loss) in valid {
            let column = (self.x.position(step) * (self.columns - 1) as f64).round() as usize;
            if let Some(cell) = cells.get_mut(row(self.y.position(loss), self.rows)).and_then(|row| row.get_mut(column))
            {
                *cell = MARK;
            }
        }
        let mut text = String::new();
        for (index, cells) in cells.iter().enumerate() {
            let label = self.labels.iter().find(|(row, _)| *row == index).map(|(_, label)| label.as_str());
            let tick = if label.is_some() { '┤' } else { '│' };
            let margin = format!("{:>width$} {tick}", label.unwrap_or(""), width = self.label_width);
            let last = cells.iter().rposition(|&cell| cell != ' ').map_or(0, |last| last + 1);
            text.push_str(&colors.faint(&margin));
            text.push_str(&colors.cells(&cells[..last]));
            text.push('\n');
        }
        text.push_str(&self.steps_axis(colors));
        text.push_str(&self.legend(train.is_empty(), valid.is_empty(), smoothed, colors));
        text
    }

    /// The curve through `points` in cells of Braille, a row of cells each.
    fn line(&self, points: &[Point]) -> Vec<Vec<char>> {
        let place = |&(step, loss): &Point| (self.x.position(step) as f32, self.y.position(loss) as f32);
        let places: Vec<(f32, f32)> = thin(points, self.columns * DOTS.0).iter().map(place).collect();
        // The canvas counts its last dot, not its dots.
        let (width, height) = (self.columns * DOTS.0 - 1, self.rows * DOTS.1 - 1);
        let shape = if let [_] = places[..] { Shape::Points(&places) } else { Shape::Lines(&places) };
        let mut chart = Chart::new_with_y_range(width as u32, height as u32, 0.0, 1.0, 0.0, 1.0);
        let chart = chart.x_axis_style(LineStyle::None).y_axis_style(LineStyle::None).lineplot(&shape);
        chart.figures();
        let mut cells: Vec<Vec<char>> = chart.frame().lines().map(|line| line.chars().collect()).collect();
        cells.resize(self.rows, Vec::new());
        cells.iter_mut().for_each(|row| row.resize(self.columns, ' '));
        cells
    }

    /// The axis below, and the numbers of its ticks.
    fn steps_axis(&self, colors: Colors) -> String {
        let mut line = vec!['─'; self.columns];
        let mut numbers = String::new();
        for tick in self.x.ticks() {
            let column = (self.x.position(tick) * (self.columns - 1) as f64).round() as usize;
            let label = self.x.label(tick);
            let start = column.saturating_sub(label.len() / 2).min(self.columns.saturating_sub(label.len()));
            // A label that would touch the one before it is left out, and so is its tick.
            if numbers.is_empty() || start > numbers.len() {
                line[column] = '┬';
                numbers = format!("{numbers:<start$}{label}");
            }
        }
        let margin = " ".repeat(self.label_width + 1);
        let line: String = line.into_iter().collect();
        colors.faint(&format!("{margin}└{line}\n{margin} {numbers}\n"))
    }

    fn legend(&self, no_train: bool, no_valid: bool, smoothed: bool, colors: Colors) -> String {
        let margin = " ".repeat(self.label_width + 2);
        let train = if smoothed { "training loss, smoothed" } else { "training loss" };
        let entries = [
            (!no_train).then(|| format!("{} {train}", colors.cells(&['⠤', '⠤']))),
            (!no_valid).then(|| format!("{} validation", colors.cells(&[MARK]))),
        ];
        format!("{margin}{}\n", entries.into_iter().flatten().collect::<Vec<_>>().join("   "))
    }
}

/// The row of cells, from the top, of a position on the axis of values.
fn row(position: f64, rows: usize) -> usize {
    let dots = (rows * DOTS.1 - 1) as f64;
    (dots - (position * dots).round()) as usize / DOTS.1
}

/// Colours by the escape codes of ECMA-48, or none.
#[derive(Clone, Copy)]
struct Colors {
    on: bool,
}

impl Colors {
    fn paint(self, code: &str, text: &str) -> String {
        if self.on && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Axes and labels, line by line.
    fn faint(self, text: &str) -> String {
        text.split_inclusive('\n')
            .map(|line| {
                let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
                self.paint("2", line) + end
            })
            .collect()
    }

    /// Cells of the plot: the curve red, evaluations blue.
    fn cells(self, cells: &[char]) -> String {
        cells
            .chunk_by(|a, b| (*a == MARK) == (*b == MARK))
            .map(|run| self.paint(if run[0] == MARK { "94" } else { "91" }, &run.iter().collect::<String>()))
            .collect()
    }
}
