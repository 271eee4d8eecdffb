//! The settings of a run: fields, and what they would take.

use super::dom::{self, element, set_text, show};
use crate::adapter::{DEFAULT_RANK, Method, divisors_of_all};
use crate::model::Projection;
use crate::train::{Schedule, TrainConfig};
use crate::web::protocol::{DataOptions, ModelReport, PlanReport, Settings};
use crate::write;
use std::cell::RefCell;

/// A newline inside one question, whose list has one a line.
const NEWLINE: &str = " ⏎ ";

/// Whole numbers: id of the field, label, where they lie.
type Whole = (&'static str, &'static str, fn(&mut TrainConfig) -> &mut usize);
const WHOLE: [Whole; 9] = [
    ("iters", "Steps", |t| &mut t.iters),
    ("batch-size", "Batch size", |t| &mut t.batch_size),
    ("grad-accumulation-steps", "Batches a step", |t| &mut t.grad_accumulation_steps),
    ("max-seq-length", "Longest row", |t| &mut t.max_seq_length),
    ("warmup-steps", "Warm-up steps", |t| &mut t.warmup_steps),
    ("steps-per-eval", "Steps per evaluation", |t| &mut t.steps_per_eval),
    ("val-batches", "Batches an evaluation", |t| &mut t.val_batches),
    ("patience", "Patience", |t| &mut t.patience),
    ("save-every", "Steps per save", |t| &mut t.save_every),
];

/// Numbers with decimals.
type Real = (&'static str, &'static str, fn(&mut TrainConfig) -> &mut f64);
const REAL: [Real; 6] = [
    ("learning-rate", "Learning rate", |t| &mut t.learning_rate),
    ("beta1", "Beta 1", |t| &mut t.betas[0]),
    ("beta2", "Beta 2", |t| &mut t.betas[1]),
    ("epsilon", "Epsilon", |t| &mut t.epsilon),
    ("weight-decay", "Weight decay", |t| &mut t.weight_decay),
    ("max-grad-norm", "Largest gradient norm", |t| &mut t.max_grad_norm),
];

const SCHEDULES: [(&str, Schedule); 3] =
    [("constant", Schedule::Constant), ("linear", Schedule::Linear), ("cosine", Schedule::Cosine)];

/// The settings, and the model they are for.
#[derive(Default)]
pub struct SettingsView {
    model: RefCell<Option<ModelReport>>,
}

impl SettingsView {
    /// Takes the defaults of a model that was opened.
    pub fn set_model(&self, model: &ModelReport) {
        *self.model.borrow_mut() = Some(model.clone());
        let modules = element("modules");
        dom::clear(&modules);
        for (projection, [d_in, d_out]) in &model.sizes {
            let label = dom::new("label", "check", "");
            let input = dom::new("input", "", "");
            let id = module_id(*projection);
            dom::attribute(&input, "type", "checkbox");
            dom::attribute(&input, "id", &id);
            dom::attribute(&label, "for", &id);
            dom::add(&label, &input);
            dom::add(&label, &dom::new("code", "", projection.name()));
            dom::add(&label, &dom::new("span", "soft", &format!("{d_in} × {d_out}")));
            dom::add(&modules, &label);
        }
        self.reset();
    }

    /// Puts the defaults of the open model into all fields.
    pub fn reset(&self) {
        let defaults = self.model.borrow().as_ref().map(|model| model.defaults.clone());
        if let Some(defaults) = defaults {
            // For when LoRA is chosen; defaults of that method have their own.
            dom::set_value("rank", &DEFAULT_RANK.to_string());
            dom::set_value("alpha", &DEFAULT_RANK.to_string());
            self.fill(&defaults);
        }
    }

    /// Puts `settings` into the fields.
    pub fn fill(&self, settings: &Settings) {
        let mut train = settings.train.clone();
        for (id, _, at) in WHOLE {
            dom::set_value(id, &at(&mut train).to_string());
        }
        for (id, _, at) in REAL {
            dom::set_value(id, &write::setting(*at(&mut train)));
        }
        dom::set_value("seed", &train.seed.to_string());
        dom::set_value("dropout", &write::setting(settings.dropout));
        dom::check("pack", train.pack);
        dom::check("grad-checkpoint", train.grad_checkpoint);
        dom::check("shuffle", train.shuffle);
        let schedule = SCHEDULES.iter().find(|(_, schedule)| *schedule == train.lr_schedule);
        dom::set_value("lr-schedule", schedule.map_or("", |(name, _)| name));
        for projection in self.projections() {
            dom::check(&module_id(projection), settings.modules.contains(&projection));
        }
        let (method, blocks) = match settings.method {
            Method::Diablo { blocks } => ("diablo", Some(blocks)),
            Method::Lora { rank, alpha } => {
                dom::set_value("rank", &rank.to_string());
                dom::set_value("alpha", &write::setting(alpha));
                ("lora", None)
            }
            Method::Full => ("full", None),
            Method::AllWeights => ("all_weights", None),
        };
        dom::set_value("method", method);
        self.fill_blocks(blocks);
        self.set_prompts(&settings.prompts);
        self.show_method();
    }

    /// Puts the questions of the data into their field.
    pub fn set_prompts(&self, prompts: &[String]) {
        let lines: Vec<String> = prompts.iter().map(|prompt| prompt.replace('\n', NEWLINE)).collect();
        dom::set_value("prompts", &lines.join("\n"));
    }

    fn projections(&self) -> Vec<Projection> {
        let model = self.model.borrow();
        model.iter().flat_map(|model| &model.sizes).map(|(projection, _)| *projection).collect()
    }

    fn modules(&self) -> Vec<Projection> {
        self.projections().into_iter().filter(|projection| dom::is_checked(&module_id(*projection))).collect()
    }

    /// Offers every N that divides the chosen matrices; `wanted`, or the largest below it, is chosen.
    fn fill_blocks(&self, wanted: Option<usize>) {
        let modules = self.modules();
        let model = self.model.borrow();
        let Some(model) = model.as_ref() else { return };
        let sizes: Vec<usize> =
            model.sizes.iter().filter(|(p, _)| modules.contains(p)).flat_map(|(_, size)| *size).collect();
        let default = if let Method::Diablo { blocks } = model.defaults.method { Some(blocks) } else { None };
        let wanted = wanted.or(dom::value("blocks").parse().ok()).or(default).unwrap_or(1);
        let fitting = divisors_of_all(&sizes);
        let chosen = fitting.iter().rfind(|n| **n <= wanted).copied().unwrap_or(1);
        let select = element("blocks");
        dom::clear(&select);
        for n in &fitting {
            let option = dom::new("option", "", &n.to_string());
            dom::attribute(&option, "value", &n.to_string());
            dom::add(&select, &option);
        }
        dom::set_value("blocks", &chosen.to_string());
    }

    /// Shows what belongs to the chosen method; other fields follow what they depend on.
    pub fn follow(&self, changed: &str) {
        if changed.starts_with("module-") {
            self.fill_blocks(None);
        }
        if changed == "method" {
            self.show_method();
        }
    }

    fn show_method(&self) {
        let method = dom::value("method");
        for (id, owner) in [("blocks", "diablo"), ("rank", "lora"), ("alpha", "lora")] {
            if let Some(label) = element(id).parent_element() {
                _ = label.toggle_attribute_with_force("hidden", owner != method);
            }
        }
        let help = match method.as_str() {
            "diablo" => "Trains blocks along the diagonal of each matrix. Fewer blocks: larger ones, that learn more.",
            "lora" => "Trains two thin factors of each matrix. Their product is scaled by alpha / rank.",
            "full" => "Trains the chosen matrices as a whole: much memory, and it forgets more easily.",
            _ => "Trains everything, embedding and norms too: only for the smallest models.",
        };
        set_text("method-help", help);
        element("modules").toggle_attribute_with_force("data-off", method == "all_weights").ok();
    }

    /// The settings in the fields; the first wrong one is told beside them.
    pub fn read(&self) -> Option<Settings> {
        let settings = self.try_read();
        for field in gloo::utils::document().query_selector_all("[aria-invalid]").iter().flat_map(each) {
            _ = field.remove_attribute("aria-invalid");
        }
        match settings {
            Ok(settings) => {
                set_text("settings-error", "");
                Some(settings)
            }
            Err((id, message)) => {
                set_text("settings-error", &message);
                dom::attribute(&element(id), "aria-invalid", "true");
                None
            }
        }
    }

    fn try_read(&self) -> Result<Settings, (&'static str, String)> {
        let mut train = TrainConfig::default();
        for (id, label, at) in WHOLE {
            *at(&mut train) = parsed(id, label, "a whole number")?;
        }
        for (id, label, at) in REAL {
            *at(&mut train) = parsed(id, label, "a number")?;
        }
        train.seed = parsed("seed", "Seed", "a whole number")?;
        train.pack = dom::is_checked("pack");
        train.grad_checkpoint = dom::is_checked("grad-checkpoint");
        train.shuffle = dom::is_checked("shuffle");
        let schedule = dom::value("lr-schedule");
        train.lr_schedule = SCHEDULES.iter().find(|(name, _)| *name == schedule).map_or(train.lr_schedule, |s| s.1);
        let modules = self.modules();
        if modules.is_empty() {
            return Err(("method", "No matrix is chosen; tick at least one under All settings.".into()));
        }
        let method = match dom::value("method").as_str() {
            "diablo" => Method::Diablo { blocks: parsed("blocks", "Blocks", "a whole number")? },
            "lora" => Method::Lora {
                rank: parsed("rank", "Rank", "a whole number")?,
                alpha: parsed("alpha", "Alpha", "a number")?,
            },
            "full" => Method::Full,
            _ => Method::AllWeights,
        };
        let prompts = dom::value("prompts");
        let prompts = prompts.lines().map(|line| line.replace(NEWLINE, "\n").trim().to_owned());
        let prompts = prompts.filter(|prompt| !prompt.is_empty()).collect();
        Ok(Settings { method, modules, dropout: parsed("dropout", "Dropout", "a number")?, train, prompts })
    }

    /// Shows what a run would take; nothing if that is not known.
    pub fn show_plan(&self, plan: Option<&PlanReport>) {
        let texts = plan.map(|plan| {
            let parts = plan.bytes.map(write::bytes);
            [
                format!("{} ({:.2} %)", write::count(plan.trainable), plan.share * 100.0),
                write::bytes(plan.bytes.iter().sum::<u64>()),
                format!("≈ {}", write::duration(plan.step_seconds)),
                format!("{:.1}", plan.epochs),
                format!("weights {}, adapter {}, activations {}, scratch {}", parts[0], parts[1], parts[2], parts[3]),
            ]
        });
        let texts = texts.unwrap_or_else(|| std::array::from_fn(|_| "–".into()));
        for (id, text) in ["plan-trainable", "plan-memory", "plan-step", "plan-epochs"].iter().zip(&texts) {
            set_text(id, text);
        }
        dom::attribute(&element("plan-memory"), "title", &texts[4]);
    }

    /// Lets the fields be changed, or not.
    pub fn enable(&self, is_enabled: bool) {
        dom::enable("settings-form", is_enabled);
        show("settings-reset", is_enabled);
    }
}

fn each(list: &web_sys::NodeList) -> Vec<web_sys::Element> {
    use wasm_bindgen::JsCast;
    (0..list.length()).filter_map(|i| list.get(i)?.dyn_into().ok()).collect()
}

fn module_id(projection: Projection) -> String {
    format!("module-{}", projection.name())
}

/// What is in a field, or what is wrong with it.
fn parsed<T: std::str::FromStr>(id: &'static str, label: &str, expected: &str) -> Result<T, (&'static str, String)> {
    let text = dom::value(id);
    text.parse().map_err(|_| {
        let found = if text.is_empty() { "empty".into() } else { format!("\"{text}\"") };
        (id, format!("{label} is {found}; expected {expected}."))
    })
}

/// Puts the defaults of how rows become examples into their fields.
pub fn fill_data_options() {
    let options = DataOptions::default();
    dom::check("mask-prompt", options.mask_prompt);
    dom::set_value("max-seq-length", &options.max_seq_length.to_string());
    dom::set_value("val-split", &write::setting(options.val_split));
}

/// The options of how rows become examples, or what is wrong with them.
pub fn data_options() -> Result<DataOptions, (&'static str, String)> {
    let val_split: f64 = parsed("val-split", "Share kept for validation", "a number from 0 to below 1")?;
    if !(0.0..1.0).contains(&val_split) {
        return Err(("val-split", format!("Share kept for validation is {val_split}; expected 0 to below 1.")));
    }
    Ok(DataOptions {
        mask_prompt: dom::is_checked("mask-prompt"),
        max_seq_length: parsed("max-seq-length", "Longest row", "a whole number")?,
        val_split,
    })
}
