//! The report of a training run: one HTML file that needs no network and no script, and a loss curve for the terminal.
//!
//! - `axis`: ranges, ticks and how numbers are written
//! - `series`: the curves in the events of a run; smoothing and thinning
//! - `charts`: line charts as SVG
//! - `heatmap`, `color`: the norm of every learned block
//! - `html`: the page; its template is `report.html`
//! - `escape`: text of others in HTML
//! - `terminal`: the curve in the terminal

pub(crate) mod axis;
mod charts;
pub(crate) mod color;
mod escape;
mod heatmap;
mod html;
pub(crate) mod series;
#[cfg(not(target_family = "wasm"))]
mod terminal;
#[cfg(test)]
mod tests;

pub use series::smooth;
#[cfg(not(target_family = "wasm"))]
pub use terminal::loss_curve;

use serde::Serialize;

use crate::error::Result;
use crate::train::TrainEvent;

/// Everything a report shows. Texts may hold anything: they are escaped.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The name of the model.
    pub title: &'a str,
    /// Headline figures, each a label and what stands behind it: first and last loss, time, device.
    pub summary: &'a [(String, String)],
    /// The settings of the run, each a name and its value.
    pub settings: &'a [(String, String)],
    /// The events of the run, in order.
    pub events: &'a [TrainEvent],
    /// The norms of what was learned, one entry an adapted matrix.
    pub blocks: &'a [BlockNorms],
    /// What the model says with and without the adapter.
    pub samples: &'a [Sample],
}

/// The norms of one adapted matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockNorms {
    /// The layer of the matrix, from 0.
    pub layer: usize,
    /// The module: "q_proj".
    pub module: String,
    /// Frobenius norm of every block, in order; of LoRA and whole matrices the one norm of the update.
    pub norms: Vec<f32>,
}

/// An answer before and after training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// What was asked.
    pub prompt: String,
    /// The answer without the adapter.
    pub before: String,
    /// The answer with the adapter.
    pub after: String,
    /// The answer in the data, where there is one.
    pub expected: Option<String>,
}

impl Report<'_> {
    /// The page: one HTML file with style and charts inside.
    pub fn to_html(&self) -> Result<String> {
        html::render(self)
    }
}
