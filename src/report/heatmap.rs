//! The heat map of what was learned: one cell a block, its colour the block's norm.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::BlockNorms;
use super::axis::{Axis, compact};
use super::color::heat;
use super::escape::escape;

/// Above this number of cells they have no texts of their own: the page would be too large.
const MOST_TEXTS: usize = 12_000;
/// Above this number of blocks a cell is the largest of several.
const MOST_COLUMNS: usize = 128;
/// The scale is logarithmic where the largest norm is more than so many times the median.
const OUTLIER: f64 = 20.0;
/// Colours of the scale.
const COLORS: usize = 128;

/// Of the panel of a module: room for the numbers of layers at the left, width of the cells together, in pixels.
const BY_MODULE: (f64, f64) = (22.0, 230.0);
/// Of the panel of all modules, whose names stand at the left.
const ALL_MODULES: (f64, f64) = (64.0, 400.0);
/// Room for the labels at the top and at the bottom.
const TOP: f64 = 5.0;
const BOTTOM: f64 = 17.0;

/// The heat map: panels, and the legend they share.
#[derive(Debug, Serialize)]
pub struct HeatMap {
    panels: Vec<Panel>,
    /// Panels beside each other, in a wide window.
    columns: usize,
    /// The colours of the scale from low to high, for a gradient of CSS.
    gradient: String,
    /// The smallest and the largest norm.
    low: String,
    high: String,
    log: bool,
    /// Blocks that one cell stands for.
    blocks_per_cell: usize,
    single: bool,
}

/// One module, or all of them where a matrix has a single norm.
#[derive(Debug, Serialize)]
struct Panel {
    title: String,
    svg: String,
}

/// The cells of a panel.
struct Grid<'a> {
    /// What a row is called, and the norms in it.
    rows: Vec<(String, Vec<f32>)>,
    /// The text of a cell, before its norm: of the row's name and the column.
    text: &'a dyn Fn(&str, usize) -> String,
    /// What a column is.
    unit: &'a str,
    /// Blocks of a column.
    per_column: usize,
    /// Room at the left, and width of the cells.
    size: (f64, f64),
}

impl HeatMap {
    /// The heat map of `blocks`; none without a norm.
    pub fn new(blocks: &[BlockNorms]) -> Option<Self> {
        let norms = || blocks.iter().flat_map(|matrix| &matrix.norms).map(|&norm| f64::from(norm));
        let mut known: Vec<f64> = norms().filter(|norm| norm.is_finite()).collect();
        known.sort_by(f64::total_cmp);
        let (&low, &high, median) = (known.first()?, known.last()?, known[known.len() / 2]);
        // A few large blocks would make all others one colour.
        let log = Axis::log(norms(), 1).filter(|_| low >= 0.0 && high > OUTLIER * median);
        let axis = log.unwrap_or_else(|| Axis::exact(norms(), 1));
        let widest = blocks.iter().map(|matrix| matrix.norms.len()).max()?;
        let single = widest == 1;
        let per_cell = widest.div_ceil(MOST_COLUMNS).max(1);
        let texts = norms().count() / per_cell <= MOST_TEXTS;
        let panels =
            if single { vec![all_modules(blocks, &axis, texts)] } else { by_module(blocks, per_cell, &axis, texts) };
        let gradient: Vec<_> = (0..=16).map(|i| heat(f64::from(i) / 16.0)).collect();
        // One row, or two that are about as long.
        let columns = if panels.len() <= 5 { panels.len().max(3) } else { panels.len().div_ceil(2).min(5) };
        Some(Self {
            panels,
            columns,
            gradient: gradient.join(","),
            low: compact(low),
            high: compact(high),
            log: axis.is_log(),
            blocks_per_cell: per_cell,
            single,
        })
    }
}

/// A panel a module: rows are layers, columns blocks.
fn by_module(blocks: &[BlockNorms], per_column: usize, axis: &Axis, texts: bool) -> Vec<Panel> {
    let mut modules: Vec<(&str, BTreeMap<usize, Vec<f32>>)> = Vec::new();
    for matrix in blocks {
        let cells =
            matrix.norms.chunks(per_column).map(|norms| norms.iter().copied().fold(f32::NAN, f32::max)).collect();
        match modules.iter_mut().find(|(name, _)| *name == matrix.module) {
            Some((_, layers)) => _ = layers.insert(matrix.layer, cells),
            None => modules.push((&matrix.module, BTreeMap::from([(matrix.layer, cells)]))),
        }
    }
    let text = |layer: &str, column: usize| format!("layer {layer}, block {}", column * per_column);
    let panel = |(module, layers): (&str, BTreeMap<usize, Vec<f32>>)| {
        let rows = layers.into_iter().map(|(layer, norms)| (layer.to_string(), norms)).collect();
        let grid = Grid { rows, text: &text, unit: "block", per_column, size: BY_MODULE };
        Panel { title: module.to_owned(), svg: grid.draw(axis, texts, module) }
    };
    modules.into_iter().map(panel).collect()
}

/// One panel where every matrix has one norm: rows are modules, columns layers.
fn all_modules(blocks: &[BlockNorms], axis: &Axis, texts: bool) -> Panel {
    let mut rows: Vec<(String, Vec<f32>)> = Vec::new();
    for matrix in blocks {
        let row = rows.iter().position(|(module, _)| *module == matrix.module).unwrap_or_else(|| {
            rows.push((matrix.module.clone(), Vec::new()));
            rows.len() - 1
        });
        let norms = &mut rows[row].1;
        // Layers that are not adapted stay empty; a number of layers no model has is not believed.
        if matrix.layer < 4096 {
            norms.resize(norms.len().max(matrix.layer + 1), f32::NAN);
            norms[matrix.layer] = matrix.norms.first().copied().unwrap_or(f32::NAN);
        }
    }
    let text = |module: &str, layer: usize| format!("{module}, layer {layer}");
    let grid = Grid { rows, text: &text, unit: "layer", per_column: 1, size: ALL_MODULES };
    Panel { title: "All modules".into(), svg: grid.draw(axis, texts, "all modules") }
}

impl Grid<'_> {
    /// The SVG of the cells and their labels.
    fn draw(&self, axis: &Axis, texts: bool, name: &str) -> String {
        let columns = self.rows.iter().map(|(_, norms)| norms.len()).max().unwrap_or(0).max(1);
        let cell_width = self.size.1 / columns as f64;
        let cell_height = (180.0 / self.rows.len().max(1) as f64).clamp(2.5, 16.0);
        let height = cell_height * self.rows.len() as f64;
        let mut svg = format!(
            "<svg viewBox=\"0 {} {:.0} {:.0}\" role=\"img\" aria-label=\"Norms of {}, {} by {columns}\">\n",
            -TOP,
            self.size.0 + self.size.1 + 8.0,
            TOP + height + BOTTOM,
            escape(name),
            self.rows.len(),
        );
        // Writing to a string does not fail.
        _ = writeln!(svg, "<g transform=\"translate({} 0) scale({cell_width:.4} {cell_height:.4})\">", self.size.0);
        if texts {
            self.cells_with_texts(&mut svg, axis)
        } else {
            self.cells(&mut svg, axis)
        }
        svg.push_str("</g>\n");
        self.labels(&mut svg, columns, cell_width, cell_height);
        svg.push_str("</svg>\n");
        svg
    }

    /// Every cell by itself, with its text.
    fn cells_with_texts(&self, svg: &mut String, axis: &Axis) {
        for (row, (name, norms)) in self.rows.iter().enumerate() {
            _ = writeln!(svg, "<g transform=\"translate(0 {row})\">");
            for (column, norm) in norms.iter().map(|&norm| f64::from(norm)).enumerate() {
                if norm.is_finite() {
                    let text = (self.text)(name, column);
                    let (text, norm, color) = (escape(&text), compact(norm), heat(axis.position(norm)));
                    _ = writeln!(
                        svg,
                        "<path d=\"M{column} 0h1v1h-1\" fill=\"{color}\"><title>{text}: {norm}</title></path>"
                    );
                }
            }
            svg.push_str("</g>\n");
        }
    }

    /// The cells of one colour as one path.
    fn cells(&self, svg: &mut String, axis: &Axis) {
        let mut by_color: BTreeMap<usize, String> = BTreeMap::new();
        for (row, (_, norms)) in self.rows.iter().enumerate() {
            for (column, norm) in norms.iter().map(|&norm| f64::from(norm)).enumerate() {
                if norm.is_finite() {
                    let color = (axis.position(norm) * (COLORS - 1) as f64).round() as usize;
                    _ = write!(by_color.entry(color).or_default(), "M{column} {row}h1v1h-1");
                }
            }
        }
        for (color, path) in by_color {
            _ = writeln!(svg, "<path d=\"{path}\" fill=\"{}\"/>", heat(color as f64 / (COLORS - 1) as f64));
        }
    }

    /// Names at the left, numbers of columns below.
    fn labels(&self, svg: &mut String, columns: usize, cell_width: f64, cell_height: f64) {
        // Rows that are too thin for a label each get every second, fifth, ...
        let least = if self.rows.len() <= 8 { 11.0 } else { 20.0 };
        let every = [1, 2, 5, 10, 20, 50, 100].into_iter().find(|&n| n as f64 * cell_height >= least).unwrap_or(200);
        for (row, (name, _)) in self.rows.iter().enumerate().step_by(every) {
            let (x, y) = (self.size.0 - 5.0, (row as f64 + 0.5) * cell_height);
            _ = writeln!(svg, "<text class=\"end\" x=\"{x}\" y=\"{y:.1}\" dy=\"0.35em\">{}</text>", escape(name));
        }
        let y = cell_height * self.rows.len() as f64 + 13.0;
        for tick in Axis::steps([0.0, (columns * self.per_column - 1) as f64].into_iter(), 4).ticks() {
            let x = self.size.0 + (tick / self.per_column as f64 + 0.5) * cell_width;
            let unit = if tick == 0.0 { format!("{} ", self.unit) } else { String::new() };
            let place = if tick == 0.0 { "start" } else { "middle" };
            let x = if tick == 0.0 { self.size.0 } else { x };
            _ = writeln!(svg, "<text class=\"{place}\" x=\"{x:.1}\" y=\"{y:.1}\">{unit}{tick}</text>");
        }
    }
}
