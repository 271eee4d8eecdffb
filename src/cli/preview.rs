//! `diablo preview`: rows of data as the model will see them.

use super::common::{DataArgs, ModelArgs, Opened};
use super::output::{self, Style};
use crate::data::{Example, IGNORED, Preview};
use crate::error::Result;

/// Show the first rows of data as the model will see them: text, tokens, and which of them are trained
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  diablo preview --model SmolLM2-135M-Instruct --data chats --mask-prompt --rows 1")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    data: DataArgs,
    /// Rows to show; 0: all
    #[arg(long, value_name = "N", default_value_t = 3)]
    rows: usize,
}

impl Args {
    pub async fn run(self, json: bool) -> Result<()> {
        self.data.path()?;
        let opened = self.model.open().await?;
        let file = self.data.splits()?.train;
        let rows = (self.rows > 0).then_some(self.rows);
        let data = self.data.dataset(&file, rows, &opened)?;
        let style = Style::stdout();
        for (index, example) in data.examples.iter().enumerate() {
            let preview = Preview::new(example, &opened.codec.tokenizer)?;
            if json {
                output::json(&preview)?;
            } else {
                output::text(&shown(index + 1, example, &preview.text, &opened, style))?;
            }
        }
        Ok(())
    }
}

/// One row for people: trained tokens in colour, or in brackets where there are no colours.
fn shown(number: usize, example: &Example, text: &str, model: &Opened, style: Style) -> String {
    let heading =
        format!("row {number}: {} tokens, {} of them trained", example.input_ids.len(), example.target_tokens());
    let tokens = example.input_ids.iter().zip(&example.labels).enumerate().map(|(position, (id, label))| {
        let token = model.codec.tokenizer.token(*id).unwrap_or_else(|| format!("<{id}>"));
        // Nothing predicts the first token.
        match (position > 0 && *label != IGNORED, style.is_enabled()) {
            (true, true) => style.strong(&token),
            (true, false) => format!("[{token}]"),
            (false, _) => style.dim(&token),
        }
    });
    let tokens = tokens.collect::<Vec<_>>().join(" ");
    format!("{}\n{}\n{}\n{tokens}\n\n", style.heading(&heading), text.trim_end_matches('\n'), style.dim("tokens:"))
}
