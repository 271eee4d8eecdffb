//! The page around the charts.

use std::collections::BTreeMap;
use std::io;

use minijinja::{AutoEscape, Environment, Output, State, UndefinedBehavior, Value, context, escape_formatter};
use serde::Serialize;

use super::Report;
use super::axis::compact;
use super::charts;
use super::escape::printable;
use super::heatmap::HeatMap;
use super::series::{Curves, Point, smooth_points};
use crate::error::{Error, Result};
use crate::train::TrainEvent;

const NAME: &str = "report.html";
const TEMPLATE: &str = include_str!("report.html");
/// Most rows of the table, half of them for evaluations at most.
const MOST_ROWS: usize = 200;
/// Most warnings that are shown.
const MOST_WARNINGS: usize = 20;

/// A chart and what stands around it.
#[derive(Debug, Serialize)]
struct ChartView {
    title: &'static str,
    note: String,
    svg: String,
}

/// The chart of the loss, for windows of several widths.
#[derive(Debug, Serialize)]
struct LossView {
    note: String,
    charts: Vec<(&'static str, String)>,
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
        warnings => warnings(report.events),
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

/// Prints a value escaped, its control characters as pictures.
fn print(out: &mut Output<'_>, state: &State<'_, '_>, value: &Value) -> Result<(), minijinja::Error> {
    match value.as_str() {
        Some(text) if !value.is_safe() => escape_formatter(out, state, &Value::from(printable(text))),
        _ => escape_formatter(out, state, value),
    }
}

fn loss_view(curves: &Curves) -> Result<Option<LossView>> {
    let (training, validation) = (!curves.loss.is_empty(), !curves.validation.is_empty());
    if !training && !validation {
        return Ok(None);
    }
    let note = loss_note(curves);
    let charts = charts::loss(curves, &format!("Loss by step. {note}"))?;
    Ok(Some(LossView { note, charts, training, validation }))
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
    if let Some(test) = curves.test {
        sentences.push(format!("Test loss {}.", compact(test)));
    }
    sentences.join(" ")
}

/// The first warnings of the run: the step, and what it was.
fn warnings(events: &[TrainEvent]) -> Vec<(usize, &str)> {
    let warning = |event| match event {
        &TrainEvent::Warning { step, ref message } => Some((step, message.as_str())),
        _ => None,
    };
    events.iter().filter_map(warning).take(MOST_WARNINGS).collect()
}

fn small_views(curves: &Curves) -> Result<Vec<ChartView>> {
    type Draw = fn(&[Point], &str) -> Result<String>;
    type Figure = fn(&[f64]) -> String;
    let kinds: [(&str, &[Point], Figure, Draw); 3] = [
        ("Learning rate", &curves.learning_rate, highest, charts::learning_rate),
        ("Gradient norm", &curves.grad_norm, median, charts::grad_norm),
        ("Tokens per second", &curves.speed, median, charts::speed),
    ];
    let mut views = Vec::new();
    for (title, points, figure, draw) in kinds {
        if !points.is_empty() {
            let mut values: Vec<f64> = points.iter().map(|point| point.1).collect();
            values.sort_by(f64::total_cmp);
            let note = figure(&values);
            let svg = draw(points, &format!("{title} by step: {note}"))?;
            views.push(ChartView { title, note, svg });
        }
    }
    Ok(views)
}

/// The last of sorted `values`.
fn highest(values: &[f64]) -> String {
    values.last().map_or(String::new(), |&value| format!("highest {}", compact(value)))
}

/// The middle one of sorted `values`.
fn median(values: &[f64]) -> String {
    values.get(values.len() / 2).map_or(String::new(), |&value| format!("median {}", compact(value)))
}

/// The table by step: evaluations, and as many steps between them as there is room for.
fn rows(events: &[TrainEvent]) -> BTreeMap<usize, Row> {
    let evaluated = |event: &TrainEvent| if let TrainEvent::Eval(report) = event { report.step } else { None };
    let done = |event: &TrainEvent| if let TrainEvent::Step(report) = event { Some(report.step) } else { None };
    let evaluated: Vec<usize> = events.iter().filter_map(evaluated).collect();
    let done: Vec<usize> = events.iter().filter_map(done).collect();
    let evaluated = spread(&evaluated, MOST_ROWS / 2);
    let done = spread(&done, MOST_ROWS - evaluated.len());
    let mut rows: BTreeMap<usize, Row> = evaluated.into_iter().chain(done).map(|step| (step, Row::default())).collect();
    for event in events {
        match event {
            TrainEvent::Step(report) => {
                if let Some(row) = rows.get_mut(&report.step) {
                    row.loss = Some(compact(report.loss));
                    row.learning_rate = Some(compact(report.learning_rate));
                    row.grad_norm = Some(compact(report.grad_norm));
                    row.speed = Some(compact(report.tokens_per_second));
                }
            }
            TrainEvent::Eval(report) => {
                if let Some(row) = report.step.and_then(|step| rows.get_mut(&step)) {
                    row.validation = Some(compact(report.loss));
                }
            }
            _ => {}
        }
    }
    rows
}

/// At most `most` of `items`, evenly spread, the last one among them.
fn spread(items: &[usize], most: usize) -> Vec<usize> {
    let every = items.len().div_ceil(most.max(1)).max(1);
    items.iter().rev().step_by(every).copied().collect()
}
