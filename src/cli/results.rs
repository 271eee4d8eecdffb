//! What a finished run shows: the loss of the test rows, answers before and after, the report.

use super::common::Opened;
use super::run_folder::RunFolder;
use super::{interrupt, output};
use crate::adapter::{Adapters, StoredAdapter, update_norms};
use crate::data::{Dataset, Question, QuestionFinder};
use crate::error::Result;
use crate::eval::evaluate;
use crate::files::write_atomically;
use crate::generate::{Sampler, Sampling, generate};
use crate::model::Model;
use crate::report::{BlockNorms, Report, Sample, loss_curve};
use crate::train::TrainEvent;
use serde_json::json;
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// The report's name in the adapter folder.
const REPORT_FILE: &str = "report.html";
/// Tokens of an answer, at most: enough to see how it is said.
const ANSWER_TOKENS: usize = 64;
/// Columns of the loss curve.
const CURVE_WIDTH: usize = 78;

/// A finished run.
pub struct Results<'a> {
    pub opened: &'a Opened,
    pub model: &'a Model,
    pub folder: &'a mut RunFolder,
    /// The adapter that is kept.
    pub adapter: StoredAdapter,
    /// The same on the model's device.
    pub adapters: Adapters,
    pub batch_size: usize,
    pub json: bool,
}

impl Results<'_> {
    /// Evaluates the test rows with the adapter that is kept.
    pub async fn test(&mut self, test: &Dataset) -> Result<()> {
        let report = evaluate(self.model, Some(&self.adapters), test, self.batch_size, 0).await?;
        let event = TrainEvent::Test(report);
        self.folder.record(&event)?;
        if self.json {
            return output::json(&event);
        }
        output::line(&format!("test loss {:.4}  perplexity {:.2}", report.loss, report.perplexity))
    }

    /// Puts up to `count` questions of `data` to the base and to the tuned model, and shows both answers.
    pub async fn samples(&self, data: &Dataset, count: usize) -> Result<Vec<Sample>> {
        let Some(template) = self.opened.codec.template.as_ref().filter(|_| count > 0) else { return Ok(Vec::new()) };
        let Some(finder) = QuestionFinder::new(&self.opened.codec.tokenizer, template)? else { return Ok(Vec::new()) };
        let style = output::Style::stdout();
        let mut samples = Vec::new();
        for example in data.spread(count) {
            let Some(question) = finder.find(example)? else { continue };
            if interrupt::requested() {
                break;
            }
            let before = self.answer(&question, None).await?;
            let after = self.answer(&question, Some(&self.adapters)).await?;
            let Question { text: prompt, expected, .. } = question;
            if self.json {
                output::json(&json!({"event": "sample", "prompt": prompt, "base": before, "tuned": after}))?;
            } else {
                let (asked, base, tuned) = (style.heading(&prompt), style.dim("base "), style.strong("tuned"));
                output::line(&format!("\n{asked}\n  {base}  {}\n  {tuned}  {}", one_line(&before), one_line(&after)))?;
            }
            samples.push(Sample { prompt, before, after, expected: Some(expected) });
        }
        Ok(samples)
    }

    async fn answer(&self, question: &Question, adapters: Option<&Adapters>) -> Result<String> {
        let limit = self.model.config.max_position_embeddings;
        if question.ids.len() >= limit {
            return Ok(String::new());
        }
        let mut sampler = Sampler::new(Sampling { temperature: 0.0, ..Sampling::default() })?;
        let go_on = |_| if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let ids = generate(self.model, adapters, &question.ids, ANSWER_TOKENS, &mut sampler, go_on).await?;
        Ok(self.opened.codec.tokenizer.decode(&ids, true)?.trim().to_owned())
    }

    /// Writes the report; returns where it lies.
    pub fn report(&self, settings: &[(String, String)], samples: &[Sample]) -> Result<PathBuf> {
        let blocks: Vec<BlockNorms> = update_norms(&self.adapter, &self.model.config)
            .into_iter()
            .map(|matrix| BlockNorms {
                layer: matrix.layer,
                module: matrix.projection.name().to_owned(),
                norms: matrix.blocks.iter().map(|norm| *norm as f32).collect(),
            })
            .collect();
        let report = Report {
            title: &self.opened.source.name,
            summary: &summary(self.folder.events()),
            settings,
            events: self.folder.events(),
            blocks: &blocks,
            samples,
        };
        let (html, path) = (report.to_html()?, self.folder.path().join(REPORT_FILE));
        write_atomically(&path, |file| file.write_all(html.as_bytes()))?;
        Ok(path)
    }
}

/// What a run came to, in figures.
fn summary(events: &[TrainEvent]) -> Vec<(String, String)> {
    let mut summary = Vec::new();
    let mut add = |label: &str, text: String| summary.push((label.to_owned(), text));
    let mut losses = events.iter().filter_map(|event| match event {
        TrainEvent::Step(report) => Some(report.loss),
        _ => None,
    });
    if let Some(first) = losses.next() {
        add("loss", format!("{first:.3} → {:.3}", losses.next_back().unwrap_or(first)));
    }
    for event in events {
        match event {
            TrainEvent::Test(report) => add("test loss", format!("{:.3}", report.loss)),
            TrainEvent::Done { steps, seconds, tokens, best, .. } => {
                if let Some(best) = best {
                    add("best validation", format!("{:.3} at step {}", best.loss, output::thousands(best.step)));
                }
                add("steps", output::thousands(*steps));
                add("tokens", output::thousands(*tokens));
                add("time", output::duration(*seconds));
            }
            _ => {}
        }
    }
    summary
}

/// The loss curve of a run, on a terminal that is wide enough.
pub fn show_curve(events: &[TrainEvent]) -> Result<()> {
    let mut train = Vec::new();
    let mut valid = Vec::new();
    for event in events {
        match event {
            TrainEvent::Step(report) => train.push((report.step, report.loss)),
            TrainEvent::Eval(report) => valid.extend(report.step.map(|step| (step, report.loss))),
            _ => {}
        }
    }
    if !std::io::stdout().is_terminal() || train.len() < 2 {
        return Ok(());
    }
    let colour = output::Style::stdout().is_enabled();
    output::line(&loss_curve(&train, &valid, CURVE_WIDTH, colour))
}

/// `text` on one line, cut where it is long.
fn one_line(text: &str) -> String {
    const LONGEST: usize = 300;
    let line = output::harmless(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    match line.char_indices().nth(LONGEST) {
        None => line,
        Some((end, _)) => format!("{} …", &line[..end]),
    }
}
