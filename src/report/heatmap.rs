//! The heat map of what was learned: one cell a block, its colour the block's norm.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use minijinja::HtmlEscape;
use serde::Serialize;

use super::BlockNorms;
use super::axis::{Axis, compact};
use super::color::heat;

/// Above this number of cells they have no texts of their own: the page would be too large.
const MOST_TEXTS: usize = 12_000;
/// Above this number of blocks a cell is the largest of several.
const MOST_COLUMNS: usize = 128;
/// Colours of the scale.
const COLORS: usize = 128;

/// Width of the cells of a panel together, in the pixels of the SVG.
const CELLS_WIDTH: f64 = 290.0;
/// Room for the labels at the left and at the bottom.
const LEFT: [f64; 2] = [26.0, 62.0];
const BOTTOM: f64 = 16.0;

/// The heat map: panels, and the legend they share.
#[derive(Debug, Serialize)]
pub struct HeatMap {
    panels: Vec<Panel>,
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
    left: f64,
}

impl HeatMap {
    /// The heat map of `blocks`; none without a norm.
    pub fn new(blocks: &[BlockNorms]) -> Option<Self> {
        let norms = || blocks.iter().flat_map(|matrix| &matrix.norms).map(|&norm| f64::from(norm));
        let known = norms().filter(|norm| norm.is_finite());
        let (low, high) = (known.clone().min_by(f64::total_cmp)?, known.max_by(f64::total_cmp)?);
        let axis = Axis::exact(norms(), 5);
        let widest = blocks.iter().map(|matrix| matrix.norms.len()).max()?;
        let single = widest == 1;
        let per_cell = widest.div_ceil(MOST_COLUMNS).max(1);
        let texts = norms().count() / per_cell <= MOST_TEXTS;
        let panels = if single { vec![all_modules(blocks, &axis, texts)] } else { by_module(blocks, per_cell, &axis, texts) };
        let gradient: Vec<_> = (0..=16).map(|i| heat(f64::from(i) / 16.0)).collect();
        Some(Self {
            panels,
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
        let cells = matrix.norms.chunks(per_column).map(|norms| norms.iter().copied().fold(f32::NAN, f32::max)).collect();
        match modules.iter_mut().find(|(name, _)| *name == matrix.module) {
            Some((_, layers)) => _ = layers.insert(matrix.layer, cells),
            None => modules.push((&matrix.module, BTreeMap::from([(matrix.layer, cells)]))),
        }
    }
    let text = |layer: &str, column: usize| format!("layer {layer}, block {}", column * per_column);
    let panel = |(module, layers): (&str, BTreeMap<usize, Vec<f32>>)| {
        let rows = layers.into_iter().map(|(layer, norms)| (layer.to_string(), norms)).collect();
        let grid = Grid { rows, text: &text, unit: "block", per_column, left: LEFT[0] };
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
    let grid = Grid { rows, text: &text, unit: "layer", per_column: 1, left: LEFT[1] };
    Panel { title: "All modules".into(), svg: grid.draw(axis, texts, "all modules") }
}

impl Grid<'_> {
    /// The SVG of the cells and their labels.
    fn draw(&self, axis: &Axis, texts: bool, name: &str) -> String {
        let columns = self.rows.iter().map(|(_, norms)| norms.len()).max().unwrap_or(0).max(1);
        let cell_width = CELLS_WIDTH / columns as f64;
        let cell_height = (210.0 / self.rows.len().max(1) as f64).clamp(2.5, 16.0);
        let height = cell_height * self.rows.len() as f64;
        let mut svg = format!(
            "<svg viewBox=\"0 0 {:.0} {:.0}\" role=\"img\" aria-label=\"Norms of {}, {} by {columns}\">\n",
            self.left + CELLS_WIDTH + 8.0,
            height + BOTTOM,
            HtmlEscape(name),
            self.rows.len(),
        );
        // Writing to a string does not fail.
        _ = writeln!(svg, "<g transform=\"translate({} 0) scale({cell_width:.4} {cell_height:.4})\">", self.left);
        if texts { self.cells_with_texts(&mut svg, axis) } else { self.cells(&mut svg, axis) }
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
                    let (text, norm, color) = (HtmlEscape(&text), compact(norm), heat(axis.position(norm)));
                    _ = writeln!(svg, "<path d=\"M{column} 0h1v1h-1\" fill=\"{color}\"><title>{text}: {norm}</title></path>");
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
        let every = [1, 2, 5, 10, 20, 50, 100].into_iter().find(|&n| n as f64 * cell_height >= 11.0).unwrap_or(200);
        for (row, (name, _)) in self.rows.iter().enumerate().step_by(every) {
            let (x, y) = (self.left - 5.0, (row as f64 + 0.5) * cell_height);
            _ = writeln!(svg, "<text class=\"end\" x=\"{x}\" y=\"{y:.1}\" dy=\"0.35em\">{}</text>", HtmlEscape(name));
        }
        let y = cell_height * self.rows.len() as f64 + 12.0;
        for tick in Axis::steps([0.0, (columns * self.per_column - 1) as f64].into_iter(), 4).ticks() {
            let x = self.left + (tick / self.per_column as f64 + 0.5) * cell_width;
            let unit = if tick == 0.0 { format!("{} ", self.unit) } else { String::new() };
            let place = if tick == 0.0 { "start" } else { "middle" };
            let x = if tick == 0.0 { self.left } else { x };
            _ = writeln!(svg, "<text class=\"{place}\" x=\"{x:.1}\" y=\"{y:.1}\">{unit}{tick}</text>");
        }
    }
}
