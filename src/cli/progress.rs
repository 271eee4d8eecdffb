//! What a training run looks like: a bar on a terminal, plain lines elsewhere, or JSON.

use super::run_folder::RunFolder;
use super::{interrupt, output};
use crate::error::Result;
use crate::train::{Next, Observer, Snapshot, StepReport, TrainEvent, Trainer};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::io::IsTerminal;
use std::time::Instant;

/// Draws a run, and keeps its folder.
pub struct Progress {
    drawing: Drawing,
    folder: RunFolder,
    /// Steps of the whole run.
    steps: usize,
    steps_per_report: usize,
    /// The first step, and when it was done.
    first: Option<(usize, Instant)>,
    /// Steps since the last plain line.
    recent: Vec<StepReport>,
    /// Nobody reads standard output any more.
    reader_is_gone: bool,
}

enum Drawing {
    Json,
    Plain,
    Bar(ProgressBar),
}

impl Progress {
    /// For a run of `steps` steps in `folder`.
    pub fn new(json: bool, folder: RunFolder, steps: usize, steps_per_report: usize) -> Self {
        let drawing = if json {
            Drawing::Json
        } else if std::io::stdout().is_terminal() && std::io::stderr().is_terminal() {
            Drawing::Bar(bar(steps))
        } else {
            Drawing::Plain
        };
        Self { drawing, folder, steps, steps_per_report, first: None, recent: Vec::new(), reader_is_gone: false }
    }

    /// Says what is about to run: a line of JSON, or labelled lines.
    pub fn header(&mut self, json: &Value, lines: &[(&str, String)]) -> Result<()> {
        if let Drawing::Json = self.drawing {
            return self.line(&json.to_string());
        }
        let style = output::Style::stdout();
        let label = |label: &str| style.heading(&format!("{label:<8}"));
        let text: String = lines.iter().map(|(name, text)| format!("{} {text}\n", label(name))).collect();
        // Not through the bar, which would already show itself below.
        let printed = output::line(&text);
        self.unless_gone(printed)
    }

    /// The folder of the run.
    pub fn folder(&mut self) -> &mut RunFolder {
        &mut self.folder
    }

    /// Takes the bar off the screen, whatever the run ended with.
    pub fn finish(&self) {
        if let Drawing::Bar(bar) = &self.drawing {
            bar.finish_and_clear();
        }
    }

    /// A line, above the bar if there is one.
    fn line(&mut self, line: &str) -> Result<()> {
        let printed = match &self.drawing {
            Drawing::Bar(bar) => bar.suspend(|| output::line(line)),
            Drawing::Plain | Drawing::Json => output::line(line),
        };
        self.unless_gone(printed)
    }

    /// A reader that has gone away is no error here: it stops the run, which then saves.
    fn unless_gone(&mut self, printed: Result<()>) -> Result<()> {
        match printed {
            Err(error) if output::reader_is_gone(&error) => {
                self.reader_is_gone = true;
                Ok(())
            }
            printed => printed,
        }
    }

    fn step(&mut self, report: StepReport) -> Result<()> {
        let left = output::duration(self.seconds_left(&report));
        if let Drawing::Bar(bar) = &self.drawing {
            bar.set_position(report.step as u64);
            bar.set_message(format!("loss {:.4}  {:.0} tokens/s  {left} left", report.loss, report.tokens_per_second));
            return Ok(());
        }
        self.recent.push(report);
        let due = self.steps_per_report > 0 && report.step.is_multiple_of(self.steps_per_report);
        if due || report.step == self.steps { self.report(&report, &left) } else { Ok(()) }
    }

    /// One line about the steps since the last one, `last` being the last of them.
    fn report(&mut self, last: &StepReport, left: &str) -> Result<()> {
        let recent = std::mem::take(&mut self.recent);
        let loss = recent.iter().map(|report| report.loss).sum::<f64>() / recent.len() as f64;
        let tokens: usize = recent.iter().map(|report| report.tokens).sum();
        let seconds: f64 = recent.iter().map(seconds).sum();
        self.line(&format!(
            "step {}/{}  loss {loss:.4}  grad norm {:.3}  learning rate {:.2e}  {:.0} tokens/s  {left} left",
            last.step,
            self.steps,
            last.grad_norm,
            last.learning_rate,
            tokens as f64 / seconds
        ))
    }

    /// How long the rest of the run takes, evaluations included. The first step does not count, as it compiles kernels.
    fn seconds_left(&mut self, report: &StepReport) -> f64 {
        let (first, since) = *self.first.get_or_insert_with(|| (report.step, Instant::now()));
        let per_step = match report.step - first {
            0 => seconds(report),
            steps => since.elapsed().as_secs_f64() / steps as f64,
        };
        per_step * (self.steps - report.step) as f64
    }
}

/// How long a step took.
fn seconds(report: &StepReport) -> f64 {
    report.tokens as f64 / report.tokens_per_second
}

impl Observer for Progress {
    fn event(&mut self, event: &TrainEvent) -> Result<()> {
        self.folder.record(event)?;
        if let Drawing::Json = self.drawing {
            // The last event of all: test loss, answers and report come before it.
            if matches!(event, TrainEvent::Done { .. }) {
                return Ok(());
            }
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
            TrainEvent::Resume { step, notes } => {
                let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
                self.line(&format!("step {step}/{}  going on from the checkpoint{notes}", self.steps))
            }
            TrainEvent::Warning { step, message } => {
                self.line(&format!("step {step}/{}  warning: {message}", self.steps))
            }
            // The error that follows says all there is to say.
            TrainEvent::Diverged { .. } => Ok(()),
            TrainEvent::Test(report) => {
                self.line(&format!("test loss {:.4}  perplexity {:.2}", report.loss, report.perplexity))
            }
            TrainEvent::Checkpoint { step, path } => self.line(&format!("step {step}/{}  saved in {path}", self.steps)),
            TrainEvent::Done { steps, loss, seconds, tokens, best, stopped_early } => {
                self.finish();
                let early = if *stopped_early { ", early since validation no longer improved" } else { "" };
                self.line(&format!(
                    "done: {} steps over {} tokens in {}{early}, last loss {loss:.4}",
                    output::thousands(*steps),
                    output::thousands(*tokens),
                    output::duration(*seconds)
                ))?;
                match best {
                    None => Ok(()),
                    Some(best) => self.line(&format!(
                        "best: step {} with validation loss {:.4}; its adapter is the one kept",
                        output::thousands(best.step),
                        best.loss
                    )),
                }
            }
        }
    }

    async fn save(&mut self, snapshot: &Snapshot, is_best: bool) -> Result<Option<String>> {
        self.folder.save(snapshot, is_best).map(Some)
    }

    fn wants_to_be_asked(&mut self, _: usize) -> bool {
        self.reader_is_gone || interrupt::requested()
    }

    async fn between_steps(&mut self, _: &mut Trainer) -> Result<Next> {
        Ok(if self.reader_is_gone || interrupt::requested() { Next::Stop } else { Next::Step })
    }
}

fn bar(steps: usize) -> ProgressBar {
    let colour = if output::Style::stderr().is_enabled() { ".green" } else { "" };
    let template = format!("{{bar:30{colour}}} {{pos}}/{{len}}  {{msg}}");
    let style = ProgressStyle::with_template(&template).expect("a sound template").progress_chars("━━─");
    ProgressBar::new(steps as u64).with_style(style)
}
