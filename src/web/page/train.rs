//! The view of a run: charts, figures, samples, warnings.

use super::chart::{self, Line};
use super::dom::{self, add, announce, element, set_text};
use super::heat;
use crate::adapter::MatrixNorms;
use crate::report::axis::{compact, drawable};
use crate::report::series::{Point, smooth_points};
use crate::train::TrainEvent;
use crate::web::protocol::Settings;
use crate::write;
use std::cell::{Cell, RefCell};

/// Rows of the table, at most; more steps are told by every n-th.
const TABLE_ROWS: usize = 100;
/// Steps over which the time left is averaged.
const RECENT: usize = 20;

/// What a run has told so far.
#[derive(Default)]
struct Curves {
    iters: usize,
    prompts: Vec<String>,
    loss: Vec<Point>,
    validation: Vec<Point>,
    rate: Vec<Point>,
    speed: Vec<Point>,
    /// When the last steps ended, in milliseconds.
    times: Vec<f64>,
    matrices: Vec<MatrixNorms>,
}

impl Curves {
    /// Steps in all, or done where those are more.
    fn steps(&self) -> usize {
        self.iters.max(self.loss.last().map_or(0, |point| point.0 as usize))
    }

    /// Seconds left, from the time of the last steps.
    fn seconds_left(&self, step: f64) -> Option<f64> {
        let (first, last) = (self.times.first()?, self.times.last()?);
        let each = (last - first) / 1e3 / (self.times.len() - 1).max(1) as f64;
        (last > first).then_some(each * (self.iters as f64 - step).max(0.0))
    }
}

/// What is drawn on its own: one of them a frame, so that none is long.
const PARTS: [fn(&TrainView); 5] = [
    |view| view.draw_loss(),
    |view| view.draw_tiles(),
    |view| view.draw_rate(),
    |view| view.draw_speed(),
    |view| view.draw_heat(),
];
/// The last of them.
const HEAT: usize = PARTS.len() - 1;

/// The view of a run.
#[derive(Default)]
pub struct TrainView {
    curves: RefCell<Curves>,
    /// Whether each of [`PARTS`] is to be drawn.
    is_stale: [Cell<bool>; PARTS.len()],
    /// Which of them is looked at next.
    turn: Cell<usize>,
}

impl TrainView {
    /// A run begins, or goes on.
    pub fn begin(&self, settings: &Settings) {
        let curves = Curves { iters: settings.train.iters, prompts: settings.prompts.clone(), ..Curves::default() };
        *self.curves.borrow_mut() = curves;
        for id in ["train-warnings", "samples", "loss-rows"] {
            dom::clear(&element(id));
        }
        for id in ["tile-step", "tile-loss", "tile-validation", "tile-speed", "tile-left"] {
            set_text(id, "–");
        }
        set_text("train-error", "");
        set_text("loss-note", "");
        set_text("samples-state", "");
        self.stale();
    }

    /// The run is over: no time is left.
    pub fn end(&self) {
        self.curves.borrow_mut().times.clear();
        self.stale();
    }

    /// Something is to be drawn in the next frame.
    pub fn stale(&self) {
        self.is_stale[..HEAT].iter().for_each(|is_stale| is_stale.set(true));
    }

    /// Takes in what a run tells. Returns how many steps are done, where a step was.
    pub fn hear(&self, event: &TrainEvent) -> Option<usize> {
        let mut curves = self.curves.borrow_mut();
        self.stale();
        match event {
            TrainEvent::Step(report) => {
                let step = report.step as f64;
                let mut put = |curve: fn(&mut Curves) -> &mut Vec<Point>, value: f64| {
                    if drawable(value) {
                        curve(&mut curves).push((step, value));
                    }
                };
                put(|c| &mut c.loss, report.loss);
                put(|c| &mut c.rate, report.learning_rate);
                put(|c| &mut c.speed, report.tokens_per_second);
                if curves.times.len() > RECENT {
                    curves.times.remove(0);
                }
                curves.times.push(js_sys::Date::now());
                let every = curves.iters.div_ceil(4).max(1);
                if report.step.is_multiple_of(every) {
                    announce(&format!("Step {} of {}, loss {}", report.step, curves.iters, compact(report.loss)));
                }
                return Some(report.step);
            }
            TrainEvent::Eval(report) => {
                if let Some(step) = report.step
                    && drawable(report.loss)
                {
                    curves.validation.push((step as f64, report.loss));
                }
            }
            TrainEvent::Test(report) => {
                self.note(&format!("Loss on the test rows: {}.", compact(report.loss)));
            }
            TrainEvent::Resume { step, notes } => {
                set_text("loss-note", &format!("Goes on after step {step}. {}", notes.join("; ")));
            }
            TrainEvent::Warning { step, message } => warn(&format!("Step {step}: {message}")),
            TrainEvent::Diverged { step } => {
                let message = format!(
                    "Step {step}: the loss is no longer a number. The adapter of step {} is kept. \
                     Lower the learning rate, or add warm-up steps.",
                    step.saturating_sub(1)
                );
                set_text("train-error", &message);
            }
            TrainEvent::Checkpoint { step, .. } => set_text("train-state", &format!("saved at step {step}")),
            TrainEvent::Done { steps, seconds, best, stopped_early, .. } => {
                curves.times.clear();
                let early = if *stopped_early { ", as validation no longer gained" } else { "" };
                let best = best.map(|best| format!(" Best validation {} at step {}.", compact(best.loss), best.step));
                let text = format!("{} in {}{early}.", write::plural(*steps, "step"), write::duration(*seconds));
                self.note(&format!("{text}{}", best.unwrap_or_default()));
            }
        }
        None
    }

    /// Adds to what is said below the chart.
    fn note(&self, text: &str) {
        let old = element("loss-note").text_content().unwrap_or_default();
        set_text("loss-note", format!("{old} {text}").trim());
    }

    /// Takes in the norms of what is learned.
    pub fn set_norms(&self, matrices: Vec<MatrixNorms>) {
        self.curves.borrow_mut().matrices = matrices;
        self.is_stale[HEAT].set(true);
    }

    /// Shows an answer given at `step`.
    pub fn sample(&self, step: usize, prompt: usize, text: &str) {
        let list = element("samples");
        let id = format!("sample-{prompt}");
        let item = gloo::utils::document().get_element_by_id(&id).unwrap_or_else(|| {
            let item = dom::new("li", "sample", "");
            dom::attribute(&item, "id", &id);
            let curves = self.curves.borrow();
            let question = curves.prompts.get(prompt).map_or("", String::as_str);
            add(&item, &dom::foreign("p", "question words", question));
            add(&item, &dom::new("ol", "answers", ""));
            add(&list, &item);
            item
        });
        dom::show("samples-empty", false);
        let Some(answers) = item.last_element_child() else { return };
        let answer = dom::new("li", "", "");
        add(&answer, &dom::new("span", "step", &format!("step {step}")));
        add(&answer, &dom::foreign("span", "words", text));
        // The newest first; the beginning stays for comparison.
        _ = answers.insert_before(&answer, answers.first_child().as_ref());
        if answers.child_element_count() > 4
            && let Some(old) = answers.children().item(2)
        {
            old.remove();
        }
        set_text("samples-state", &format!("step {step}"));
    }

    /// Draws one part that has changed; to be called once a frame.
    pub fn draw(&self) {
        for _ in 0..PARTS.len() {
            let turn = self.turn.get();
            self.turn.set((turn + 1) % PARTS.len());
            if self.is_stale[turn].take() {
                return PARTS[turn](self);
            }
        }
    }

    fn draw_heat(&self) {
        let curves = self.curves.borrow();
        heat::draw(&curves.matrices);
        if !element("heat-table").hidden() {
            heat::fill_table(&curves.matrices);
        }
    }

    fn draw_loss(&self) {
        let curves = self.curves.borrow();
        let smoothed = smooth_points(&curves.loss);
        let label = match (curves.loss.first(), smoothed.last()) {
            (Some(first), Some(last)) => {
                format!("Loss from {} to {} in {} steps", compact(first.1), compact(last.1), last.0)
            }
            _ => "Loss: no steps yet".into(),
        };
        let lines = [
            Line { class: "train raw", points: &curves.loss, is_area: false, has_dots: false },
            Line { class: "valid", points: &curves.validation, is_area: false, has_dots: true },
            Line { class: "train", points: &smoothed, is_area: false, has_dots: false },
        ];
        chart::draw("loss-chart", &label, curves.steps(), &lines);
        if !element("loss-table").hidden() {
            self.fill_table();
        }
    }

    fn draw_rate(&self) {
        let curves = self.curves.borrow();
        let now = chart::last(&curves.rate);
        let line = Line { class: "rate", points: &curves.rate, is_area: true, has_dots: false };
        chart::draw("rate-chart", &format!("Learning rate, now {now}"), curves.steps(), &[line]);
        set_text("rate-note", if curves.rate.is_empty() { "" } else { &now });
    }

    fn draw_speed(&self) {
        let curves = self.curves.borrow();
        let smoothed = smooth_points(&curves.speed);
        let now = chart::last(&smoothed);
        let line = Line { class: "speed", points: &smoothed, is_area: true, has_dots: false };
        chart::draw("speed-chart", &format!("Tokens a second, now {now}"), curves.steps(), &[line]);
        set_text("speed-note", if smoothed.is_empty() { "" } else { &now });
    }

    fn draw_tiles(&self) {
        let curves = self.curves.borrow();
        let Some((step, _)) = curves.loss.last().copied() else { return };
        set_text("tile-step", &format!("{step} / {}", curves.iters));
        set_text("tile-loss", &chart::last(&smooth_points(&curves.loss)));
        set_text("tile-validation", &chart::last(&curves.validation));
        set_text("tile-speed", &chart::last(&smooth_points(&curves.speed)));
        set_text("tile-left", &curves.seconds_left(step).map_or("–".into(), write::duration));
    }

    /// Says what was measured at the step under the pointer, which is `x` from the left of the window; nothing where
    /// there is none.
    pub fn point_at(&self, x: Option<f64>) {
        let curves = self.curves.borrow();
        let Some(share) = x.map(|x| chart::share("loss-chart", x)) else { return set_text("loss-here", "") };
        let wanted = share * curves.steps() as f64;
        let index = curves.loss.partition_point(|point| point.0 < wanted - 0.5);
        let text = curves.loss.get(index).map(|(step, loss)| {
            let until = curves.validation.iter().rfind(|point| point.0 <= *step);
            let validation = until.map(|(at, loss)| format!(", validation {} (step {at})", compact(*loss)));
            format!("step {step}: loss {}{}", compact(*loss), validation.unwrap_or_default())
        });
        set_text("loss-here", &text.unwrap_or_default());
    }

    /// Fills the table of losses.
    pub fn fill_table(&self) {
        let curves = self.curves.borrow();
        let body = element("loss-rows");
        dom::clear(&body);
        let every = curves.loss.len().div_ceil(TABLE_ROWS).max(1);
        let at = |points: &[Point], step: f64| {
            let found = points.iter().find(|point| point.0 == step);
            found.map_or("–".into(), |point| compact(point.1))
        };
        let last = curves.loss.len().saturating_sub(1);
        let validated = |step: f64| curves.validation.iter().any(|point| point.0 == step);
        for (i, (step, loss)) in curves.loss.iter().enumerate() {
            if i % every == 0 || i == last || validated(*step) {
                let cells = [
                    step.to_string(),
                    compact(*loss),
                    at(&curves.validation, *step),
                    at(&curves.rate, *step),
                    at(&curves.speed, *step),
                ];
                add(&body, &row("td", cells.into_iter()));
            }
        }
    }

    /// Fills the table of norms.
    pub fn fill_heat_table(&self) {
        heat::fill_table(&self.curves.borrow().matrices);
    }
}

/// A row of a table, the first cell its heading.
pub fn row(tag: &str, cells: impl Iterator<Item = String>) -> web_sys::Element {
    let row = dom::new("tr", "", "");
    for (i, text) in cells.enumerate() {
        let cell = dom::new(if i == 0 { "th" } else { tag }, "", &text);
        if i == 0 || tag == "th" {
            dom::attribute(&cell, "scope", if tag == "th" { "col" } else { "row" });
        }
        add(&row, &cell);
    }
    row
}

fn warn(text: &str) {
    add(&element("train-warnings"), &dom::foreign("li", "words", text));
    announce(text);
}
