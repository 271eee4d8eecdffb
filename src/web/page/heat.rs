//! The heat map of what is learned: a panel a module, a row a layer, a column a block.

use super::dom::{self, add, element, set_text, svg};
use crate::adapter::MatrixNorms;
use crate::model::Projection;
use crate::report::axis::{Axis, compact};
use crate::report::color::heat;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Colours of the scale.
const COLORS: usize = 64;
/// Above this number of blocks, a cell is the largest of several.
const MOST_COLUMNS: usize = 128;

/// Draws the scale, once.
pub fn draw_scale() {
    let scale = element_svg("heat-scale");
    for i in 0..COLORS {
        let (x, color) = (i.to_string(), heat(i as f64 / (COLORS - 1) as f64));
        add(&scale, &svg("rect", &[("x", &x), ("width", "1.1"), ("height", "1"), ("fill", &color)]));
    }
}

fn element_svg(id: &str) -> web_sys::Element {
    dom::by_id(id)
}

/// Draws the norms of every matrix.
pub fn draw(matrices: &[MatrixNorms]) {
    let norms = || matrices.iter().flat_map(|matrix| &matrix.blocks).copied().filter(|norm| norm.is_finite());
    let panels = element("heat");
    dom::clear(&panels);
    if norms().next().is_none() {
        return;
    }
    let high = norms().fold(0.0, f64::max);
    let axis = Axis::from_zero(std::iter::once(high), 1);
    set_text("heat-low", "0");
    set_text("heat-high", &compact(high));
    let mut modules: BTreeMap<Projection, Vec<&MatrixNorms>> = BTreeMap::new();
    for matrix in matrices {
        modules.entry(matrix.projection).or_default().push(matrix);
    }
    for (projection, layers) in &modules {
        let figure = dom::new("figure", "", "");
        add(&figure, &dom::new("figcaption", "", projection.name()));
        add(&figure, &panel(projection.name(), layers, &axis));
        add(&panels, &figure);
    }
}

fn panel(name: &str, layers: &[&MatrixNorms], axis: &Axis) -> web_sys::Element {
    let widest = layers.iter().map(|matrix| matrix.blocks.len()).max().unwrap_or(1).max(1);
    let per_cell = widest.div_ceil(MOST_COLUMNS);
    let columns = widest.div_ceil(per_cell);
    let mut by_color: BTreeMap<usize, String> = BTreeMap::new();
    for (row, matrix) in layers.iter().enumerate() {
        for (column, blocks) in matrix.blocks.chunks(per_cell).enumerate() {
            let norm = blocks.iter().copied().fold(f64::NAN, f64::max);
            let color = (axis.position(norm) * (COLORS - 1) as f64).round() as usize;
            // Writing to a string does not fail.
            _ = write!(by_color.entry(color).or_default(), "M{column} {row}h1v1h-1");
        }
    }
    let size = format!("0 0 {columns} {}", layers.len());
    let largest = layers.iter().max_by(|a, b| a.total().total_cmp(&b.total()));
    let label = largest.map_or(String::new(), |matrix| {
        format!("{name}: {} layers, most in layer {}, norm {}", layers.len(), matrix.layer, compact(matrix.total()))
    });
    let attributes = [("viewBox", size.as_str()), ("preserveAspectRatio", "none"), ("role", "img")];
    let drawing = svg("svg", &attributes);
    dom::attribute(&drawing, "aria-label", &label);
    for (color, path) in by_color {
        let color = heat(color as f64 / (COLORS - 1) as f64);
        add(&drawing, &svg("path", &[("d", &path), ("fill", &color)]));
    }
    drawing
}

/// Fills the table: a row a layer, a column a module, the norm of the whole update.
pub fn fill_table(matrices: &[MatrixNorms]) {
    let (head, rows) = (element("heat-head"), element("heat-rows"));
    dom::clear(&head);
    dom::clear(&rows);
    let mut layers: BTreeMap<usize, BTreeMap<Projection, f64>> = BTreeMap::new();
    for matrix in matrices {
        layers.entry(matrix.layer).or_default().insert(matrix.projection, matrix.total());
    }
    let mut modules: Vec<Projection> = matrices.iter().map(|matrix| matrix.projection).collect();
    modules.sort();
    modules.dedup();
    let names = std::iter::once("Layer").chain(modules.iter().map(|module| module.name()));
    add(&head, &super::train::row("th", names.map(str::to_owned)));
    for (layer, norms) in layers {
        let cells = modules.iter().map(|module| norms.get(module).map_or("–".into(), |norm| compact(*norm)));
        add(&rows, &super::train::row("td", std::iter::once(layer.to_string()).chain(cells)));
    }
}
