//! What a training run looks like: a bar on a terminal, plain lines elsewhere, or JSON.

use super::{interrupt, output};
use crate::adapter::StoredAdapter;
use crate::error::Result;
use crate::model::ModelConfig;
use crate::train::{Observer, StepReport, TrainEvent};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Instant;

/// Characters of the loss plot.
const PLOT_WIDTH: usize = 60;

/// Draws a run and saves its adapter.
pub struct Progress {
    drawing: Drawing,
    model: ModelConfig,
    adapter_path: PathBuf,
    /// Steps of the whole run.
    steps: usize,
    steps_per_report: usize,
    start: Instant,
    /// Steps since the last plain line.
    recent: Vec<StepReport>,
    /// What the plot at the end of a bar shows.
    losses: Vec<f64>,
    /// Nobody reads standard output any more.
    reader_is_gone: bool,
}

enum Drawing {
    Json,
    Plain,
    Bar(ProgressBar),
}

impl Progress {
    /// For a run of `steps` steps on a model of this configuration, whose adapter goes to `adapter_path`.
    pub fn new(json: bool, model: ModelConfig, adapter_path: PathBuf, steps: usize, steps_per_report: usize) -> Self {
        let drawing = if json {
            Drawing::Json
        } else if std::io::stdout().is_terminal() && std::io::stderr().is_terminal() {
            Drawing::Bar(bar(steps))
        } else {
            Drawing::Plain
        };
        Self {
            drawing,
            model,
            adapter_path,
            steps,
            steps_per_report,
            start: Instant::now(),
            recent: Vec::new(),
            losses: Vec::new(),
            reader_is_gone: false,
        }
    }

    /// Says what is about to run: a line of JSON, or labelled lines.
    pub fn header(&mut self, json: &Value, lines: &[(&str, String)]) -> Result<()> {
        if let Drawing::Json = self.drawing {
            return self.line(&json.to_string());
        }
        let style = output::Style::stdout();
        for (label, text) in lines {
            self.line(&format!("{} {text}", style.heading(&format!("{label:<8}"))))?;
        }
        self.line("")
    }

    /// Takes the bar off the screen, whatever the run ended with.
    pub fn finish(&self) {
        if let Drawing::Bar(bar) = &self.drawing {
            bar.finish_and_clear();
        }
    }

    /// A line for people: above the bar, or plain. A reader that has gone away stops the run, which then saves.
    fn line(&mut self, line: &str) -> Result<()> {
        let printed = match &self.drawing {
            Drawing::Bar(bar) => bar.suspend(|| output::line(line)),
            Drawing::Plain | Drawing::Json => output::line(line),
        };
        match printed {
            Err(error) if output::reader_is_gone(&error) => {
                self.reader_is_gone = true;
                Ok(())
            }
            printed => printed,
        }
    }

    fn step(&mut self, report: StepReport) -> Result<()> {
        if let Drawing::Bar(bar) = &self.drawing {
            self.losses.push(report.loss);
            bar.set_message(format!("loss {:.4}  {:.0} tokens/s", report.loss, report.tokens_per_second));
            bar.set_position(report.step as u64);
            return Ok(());
        }
        self.recent.push(report);
        let due = self.steps_per_report > 0 && report.step.is_multiple_of(self.steps_per_report);
        if due || report.step == self.steps { self.report() } else { Ok(()) }
    }

    /// One line about the steps since the last one.
    fn report(&mut self) -> Result<()> {
        let recent = std::mem::take(&mut self.recent);
        let Some(last) = recent.last() else { return Ok(()) };
        let count = recent.len() as f64;
        let loss = recent.iter().map(|report| report.loss).sum::<f64>() / count;
        let tokens: usize = recent.iter().map(|report| report.tokens).sum();
        let seconds: f64 = recent.iter().map(|report| report.tokens as f64 / report.tokens_per_second).sum();
        let left = self.start.elapsed().as_secs_f64() / last.step as f64 * (self.steps - last.step) as f64;
        self.line(&format!(
            "step {}/{}  loss {loss:.4}  grad norm {:.3}  learning rate {:.2e}  {:.0} tokens/s  {} left",
            last.step,
            self.steps,
            last.grad_norm,
            last.learning_rate,
            tokens as f64 / seconds,
            output::duration(left)
        ))
    }
}

impl Observer for Progress {
    fn event(&mut self, event: &TrainEvent) -> Result<()> {
        if let Drawing::Json = self.drawing {
            return self.line(&serde_json::to_string(event).expect("JSON of plain values"));
        }
        match event {
            TrainEvent::Step(report) => self.step(*report),
            TrainEvent::Eval(report) => self.line(&format!(
                "step {}/{}  validation loss {:.4}  perplexity {:.2}",
                report.step.unwrap_or(0),
                self.steps,
                report.loss,
                report.perplexity
            )),
            TrainEvent::Checkpoint { step, path } => self.line(&format!("step {step}/{}  saved in {path}", self.steps)),
            TrainEvent::Done { steps, loss, seconds, tokens } => {
                self.finish();
                let plot = output::sparkline(&self.losses, PLOT_WIDTH);
                if !plot.is_empty() {
                    self.line(&format!("loss {:.4} {plot} {loss:.4}", self.losses[0]))?;
                }
                self.line(&format!(
                    "done: {} steps in {}, {:.0} tokens/s, last loss {loss:.4}",
                    output::thousands(*steps),
                    output::duration(*seconds),
                    *tokens as f64 / seconds
                ))
            }
        }
    }

    fn save(&mut self, _step: usize, adapter: &StoredAdapter) -> Result<String> {
        adapter.save(&self.adapter_path, &self.model)?;
        Ok(self.adapter_path.display().to_string())
    }

    fn stop_requested(&self) -> bool {
        self.reader_is_gone || interrupt::requested()
    }
}

fn bar(steps: usize) -> ProgressBar {
    let colour = if output::Style::stderr().is_enabled() { ".green" } else { "" };
    let template = format!("{{bar:30{colour}}} {{pos}}/{{len}}  {{msg}}  {{eta}} left");
    let style = ProgressStyle::with_template(&template).expect("a sound template").progress_chars("━━─");
    ProgressBar::new(steps as u64).with_style(style)
}
