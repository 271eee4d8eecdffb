//! Evaluation: loss and perplexity.

use crate::adapter::Adapters;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::model::{Model, Targets, Tokens, next_token_loss};
use crate::train::EvalReport;

/// Mean loss over the target tokens of the first `max_batches` batches of `data` (0: all), in order.
///
/// # Errors
/// If no token is left to predict, or the device is lost.
pub async fn evaluate(
    model: &Model,
    adapters: Option<&Adapters>,
    data: &Dataset,
    batch_size: usize,
    max_batches: usize,
) -> Result<EvalReport> {
    let device = model.device();
    let effective = adapters.map(|adapters| adapters.effective(model));
    let model = effective.as_deref().unwrap_or(model);
    let (mut sum, mut count) = (0.0, 0);
    let batches = data.batches(batch_size);
    for batch in batches.take(if max_batches == 0 { usize::MAX } else { max_batches }) {
        let Some(targets) = Targets::new(&batch.labels, batch.rows, &device) else { continue };
        let hidden = model.forward(&Tokens::of_batch(&batch, &device), adapters, None);
        let loss = crate::train::read(next_token_loss(model, hidden, &targets)).await?;
        sum += f64::from(loss[0]);
        count += targets.count;
    }
    if count == 0 {
        return Err(Error::data("evaluation", "no token is left to predict"));
    }
    let loss = sum / count as f64;
    Ok(EvalReport { step: None, loss, perplexity: loss.exp(), tokens: count })
}
