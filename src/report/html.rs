//! The page around the charts.

use std::collections::BTreeMap;
use std::io;

use minijinja::{AutoEscape, Environment, Output, State, UndefinedBehavior, Value, context, escape_formatter};
use serde::Serialize;

use super::Report;
use super::axis::compact;
use super::charts;
use super::heatmap::HeatMap;
use super::series::{Curves, Point, smooth_points};
use crate::error::{Error, Result};
use crate::train::TrainEvent;

const NAME: &str = "report.html";
const TEMPLATE: &str = include_str!("report.html");
/// Most rows of the table, half of them for evaluations at most.
const MOST_ROWS: usize = 200;

/// A chart and what stands around it.
#[derive(Debug, Serialize)]
struct ChartView {
    title: &'static str,
    note: String,
    svg: String,
}

/// The chart of the loss, for wide and for narrow windows.
#[derive(Debug, Serialize)]
struct LossView {
    note: String,
    wide: String,
    narrow: String,
    training: bool,
    validation: bool,
}

/// A row of the table; absent values were not measured at this step.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Row {
    loss: Option<String>,
    validation: Option<String>,
    learning_rate: Option<String>,
    grad_norm: Option<String>,
    speed: Option<String>,
}

/// Renders the page of `report`.
pub fn render(report: &Report<'_>) -> Result<String> {
    let curves = Curves::new(report.events);
    let rows: Vec<(usize, Row)> = rows(report.events).into_iter().collect();
    let context = context! {
        title => report.title,
        summary => report.summary,
        settings => report.settings,
        samples => report.samples,
        loss => loss_view(&curves)?,
        charts => small_views(&curves)?,
        left_out => curves.left_out,
        heat => HeatMap::new(report.blocks),
        steps => report.events.iter().filter(|event| matches!(event, TrainEvent::Step(_))).count(),
        rows,
        version => env!("CARGO_PKG_VERSION"),
    };
    page(&context).map_err(|error| Error::io(NAME, "writing the page", io::Error::other(error)))
}

fn page(context: &Value) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_formatter(print);
    environment.add_template(NAME, TEMPLATE)?;
    environment.get_template(NAME)?.render(context)
}

/// Prints a value escaped, and characters that do not print as signs that do.
fn print(out: &mut Output<'_>, state: &State<'_, '_>, value: &Value) -> Result<(), minijinja::Error> {
    match value.as_str() {
        Some(text) if !value.is_safe() && text.chars().any(|c| visible(c) != c) => {
            escape_formatter(out, state, &Value::from(text.chars().map(visible).collect::<String>()))
        }
        _ => escape_formatter(out, state, value),
    }
}

/// `c`, or a picture of it where it is a control character: HTML forbids most of them.
fn visible(c: char) -> char {
    match c {
        '\n' | '\t' => c,
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\x7f' => '\u{2421}',
        '\u{80}'..='\u{9f}' => '\u{fffd}',
        _ => c,
    }
}

fn loss_view(curves: &Curves) -> Result<Option<LossView>> {
    let (training, validation) = (!curves.loss.is_empty(), !curves.validation.is_empty());
    if !training && !validation {
        return Ok(None);
    }
    let note = loss_note(curves);
    let [wide, narrow] = charts::loss(curves, &format!("Loss by step. {note}"))?;
    Ok(Some(LossView { note, wide, narrow, training, validation }))
}

/// The curves in words.
fn loss_note(curves: &Curves) -> String {
    let smoothed = smooth_points(&curves.loss);
    let mut sentences = Vec::new();
    match (curves.loss.as_slice(), smoothed.last()) {
        ([only], _) => sentences.push(format!("Training loss {} after one step.", compact(only.1))),
        ([first, ..], Some(last)) => {
            let (first, last, step) = (compact(first.1), compact(last.1), last.0);
            sentences.push(format!("Training loss from {first} to {last} (smoothed) in {step} steps."));
        }
        _ => {}
    }
    if let Some((step, best)) = curves.best() {
        sentences.push(format!("Lowest validation loss {} after step {step}, ringed.", compact(best)));
    }
    sentences.join(" ")
}

fn small_views(curves: &Curves) -> Result<Vec<ChartView>> {
    type Draw = fn(&[Point], &str) -> Result<String>;
    let kinds: [(&str, &[Point], Draw); 3] = [
        ("Learning rate", &curves.learning_rate, charts::learning_rate),
        ("Gradient norm", &curves.grad_norm, charts::grad_norm),
        ("Tokens per second", &curves.speed, charts::speed),
    ];
    let mut views = Vec::new();
    for (title, points, draw) in kinds {
        let values = || points.iter().map(|point| point.1);
        if let (Some(low), Some(high)) = (values().min_by(f64::total_cmp), values().max_by(f64::total_cmp)) {
            let note = format!("{} to {}", compact(low), compact(high));
            let svg = draw(points, &format!("{title} by step: {note}"))?;
            views.push(ChartView { title, note, svg });
        }
    }
    Ok(views)
}

/// The table by step: evaluations, and as many steps between them as there is room for.
fn rows(events: &[TrainEvent]) -> BTreeMap<usize, Row> {
    let evals: Vec<_> = events.iter().filter(|event| matches!(event, TrainEvent::Eval(_))).collect();
    let steps: Vec<_> = events.iter().filter(|event| matches!(event, TrainEvent::Step(_))).collect();
    let evals = spread(&evals, MOST_ROWS / 2);
    let steps = spread(&steps, MOST_ROWS - evals.len());
    let mut rows: BTreeMap<usize, Row> = BTreeMap::new();
    for event in evals.into_iter().chain(steps) {
        match event {
            TrainEvent::Step(report) => {
                let row = rows.entry(report.step).or_default();
                row.loss = Some(compact(report.loss));
                row.learning_rate = Some(compact(report.learning_rate));
                row.grad_norm = Some(compact(report.grad_norm));
                row.speed = Some(compact(report.tokens_per_second));
            }
            TrainEvent::Eval(report) => {
                let row = rows.entry(report.step.unwrap_or(0)).or_default();
                row.validation = Some(compact(report.loss));
            }
            _ => {}
        }
    }
    rows
}

/// At most `most` of `items`, evenly spread, the last one among them.
fn spread<'a, T>(items: &[&'a T], most: usize) -> Vec<&'a T> {
    let every = items.len().div_ceil(most.max(1)).max(1);
    items.iter().rev().step_by(every).rev().copied().collect()
}
