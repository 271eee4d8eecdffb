//! The view of the data: where it comes from, and how the model sees it.

use super::dom::{self, add, element, set_text};
use super::link::Link;
use super::settings;
use crate::web::protocol::{DataOptions, DataReport, DataSource, PreviewRow, Request};
use crate::write;
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::JsValue;

/// Tokens of a previewed row that are shown.
const TOKENS: usize = 400;

/// The view of the data. It remembers where the data comes from, for the next model reads it anew.
pub struct DataView {
    link: Rc<Link>,
    source: RefCell<Option<Source>>,
    /// The last one that could be read.
    last_good: RefCell<Option<Source>>,
    /// The options it was read with last.
    options: RefCell<Option<DataOptions>>,
}

/// Where data comes from, with its files.
type Source = (DataSource, Vec<web_sys::File>);

impl DataView {
    /// No data yet.
    pub fn new(link: Rc<Link>) -> Self {
        Self { link, source: RefCell::default(), last_good: RefCell::default(), options: RefCell::default() }
    }

    /// Takes data from `source`; without a model it waits for one.
    pub fn choose(&self, source: DataSource, files: Vec<web_sys::File>) {
        *self.source.borrow_mut() = Some((source, files));
        self.read();
    }

    /// Whether data was chosen.
    pub fn is_chosen(&self) -> bool {
        self.source.borrow().is_some()
    }

    /// Reads the data, as the model and the options are now.
    pub fn read(&self) {
        let options = match settings::data_options() {
            Ok(options) => options,
            Err((_, message)) => return set_text("data-error", &message),
        };
        if let Some((source, files)) = self.source.borrow().as_ref() {
            set_text("data-state", "reading …");
            *self.options.borrow_mut() = Some(options.clone());
            let request = Request::SetData { source: source.clone(), options };
            self.link.send_with(&request, files.iter().map(JsValue::from));
        }
    }

    /// Reads the data once more if an option was changed since, and the field has not told of it yet.
    pub fn settle(&self) {
        let options = settings::data_options().ok();
        if options.is_some() && *self.options.borrow() != options {
            self.read();
        }
    }

    /// Takes the text that was pasted.
    pub fn choose_text(&self) {
        let text = dom::value("paste-text");
        if text.is_empty() {
            return set_text("data-error", "There is no text yet: paste some rows first.");
        }
        self.choose(DataSource::Text { text, kind: dom::value("paste-kind") }, Vec::new());
    }

    /// The data was read.
    pub fn set(&self, data: &DataReport) {
        self.last_good.replace(self.source.borrow().clone());
        set_text("data-error", "");
        set_text("data-state", "");
        set_text("data-name", &data.name);
        let [train, valid, test] = data.rows;
        let mut facts = vec![format!("{} to learn from", write::plural(train, "row"))];
        for (rows, what) in [(valid, "for validation"), (test, "for the test")] {
            if rows > 0 {
                facts.push(format!("{} {what}", write::count(rows as u64)));
            }
        }
        facts.push(format!(
            "{}, {} of them learned",
            write::plural(data.tokens, "token"),
            write::count(data.trained_tokens as u64)
        ));
        facts.push(format!("longest row {}", write::count(data.longest as u64)));
        if data.truncated > 0 {
            facts.push(format!("{} cut", write::plural(data.truncated, "row")));
        }
        set_text("data-facts-line", &facts.join(" · "));
        let warnings = element("data-warnings");
        dom::clear(&warnings);
        for warning in &data.warnings {
            add(&warnings, &dom::foreign("li", "words", warning));
        }
        let preview = element("preview");
        dom::clear(&preview);
        for row in &data.preview {
            add(&preview, &tokens(row));
        }
        let name = self.source.borrow().as_ref().map(|(source, _)| source.clone());
        for (id, set) in [("data-facts", "demo/facts"), ("data-style", "demo/style")] {
            let is_it = matches!(&name, Some(DataSource::Demo { name }) if name == set);
            dom::attribute(&element(id), "aria-pressed", if is_it { "true" } else { "false" });
        }
    }

    /// The data could not be read; what was read before still counts.
    pub fn fail(&self, message: &str) {
        self.source.replace(self.last_good.borrow().clone());
        set_text("data-error", message);
        set_text("data-state", "");
        dom::unfold("row-help", true);
    }
}

/// A row, token by token. Neighbours of the same kind are told apart by their frames.
fn tokens(row: &PreviewRow) -> web_sys::Element {
    let line = dom::foreign("p", "tokens", "");
    for (text, is_trained) in row.tokens.iter().take(TOKENS) {
        let is_special = text.len() > 2 && text.starts_with('<') && text.ends_with('>');
        let class = match (is_trained, is_special) {
            (true, false) => "token trained",
            (true, true) => "token trained special",
            (false, false) => "token masked",
            (false, true) => "token masked special",
        };
        let shown = text.replace('\n', "↵\n").replace('\t', "⇥\t");
        add(&line, &dom::new("span", class, &shown));
    }
    if row.tokens.len() > TOKENS {
        add(&line, &dom::new("span", "soft", &format!(" … {} more", row.tokens.len() - TOKENS)));
    }
    line
}
