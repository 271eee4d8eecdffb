//! A conversation with the model as it was and as it is.

use super::dom::{self, add, announce, element, set_text};
use super::link::Link;
use crate::generate::{DEFAULT_MAX_TOKENS, Sampling};
use crate::text::Message;
use crate::web::protocol::{Request, Side};
use crate::write;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use web_sys::Element;

/// A question under way to one or both sides.
struct Open {
    id: u32,
    sides: Vec<Side>,
}

#[derive(Default)]
struct State {
    next_id: u32,
    has_model: bool,
    has_adapter: bool,
    /// What each side has heard and said.
    history: BTreeMap<Side, Vec<Message>>,
    open: Option<Open>,
    waiting: VecDeque<(Open, Request)>,
    /// Where answers of a side go, and what they are so far.
    answers: BTreeMap<Side, (Element, String)>,
}

/// The conversation.
pub struct TalkView {
    link: Rc<Link>,
    state: RefCell<State>,
}

impl TalkView {
    /// No conversation yet.
    pub fn new(link: Rc<Link>) -> Self {
        Self { link, state: RefCell::default() }
    }

    /// Whether there is a model, and whether it has an adapter.
    pub fn set(&self, has_model: bool, has_adapter: bool) {
        let mut state = self.state.borrow_mut();
        (state.has_model, state.has_adapter) = (has_model, has_adapter);
        drop(state);
        dom::enable("side-tuned", has_adapter);
        self.update();
    }

    /// Forgets what was said.
    pub fn reset(&self) {
        self.stop();
        let mut state = self.state.borrow_mut();
        state.history.clear();
        state.answers.clear();
        state.open = None;
        drop(state);
        dom::clear(&element("turns"));
        set_text("talk-error", "");
        self.update();
    }

    /// Offers questions to try.
    pub fn suggest(self: &Rc<Self>, prompts: &[String]) {
        let row = element("suggestions");
        dom::clear(&row);
        for prompt in prompts.iter().take(4) {
            let button = dom::foreign("button", "small", prompt);
            dom::attribute(&button, "type", "button");
            let (view, prompt) = (self.clone(), prompt.clone());
            dom::on(&button, "click", move |_| view.ask(&prompt));
            add(&row, &button);
        }
    }

    fn update(&self) {
        let state = self.state.borrow();
        let is_busy = state.open.is_some();
        dom::enable("ask", state.has_model && !is_busy);
        dom::show("ask", !is_busy);
        dom::show("stop-talking", is_busy);
        let suggestions = element("suggestions").children();
        for button in (0..suggestions.length()).filter_map(|i| suggestions.item(i)) {
            _ = button.toggle_attribute_with_force("disabled", !state.has_model || is_busy);
        }
    }

    /// Asks what is in the field.
    pub fn ask_typed(&self) {
        let question = dom::value("question");
        if !question.is_empty() && self.state.borrow().has_model && self.state.borrow().open.is_none() {
            dom::set_value("question", "");
            self.ask(&question);
        }
    }

    fn ask(&self, question: &str) {
        let has_adapter = self.state.borrow().has_adapter;
        let sides: Vec<Side> = [(Side::Base, "side-base"), (Side::Tuned, "side-tuned")]
            .into_iter()
            .filter(|(side, id)| dom::is_checked(id) && (*side == Side::Base || has_adapter))
            .map(|(side, _)| side)
            .collect();
        let (max_tokens, sampling) = match read_options() {
            Ok(options) if !sides.is_empty() => options,
            Ok(_) => return set_text("talk-error", "Nobody answers: tick the base model, or train an adapter first."),
            Err(message) => return set_text("talk-error", &message),
        };
        set_text("talk-error", "");
        self.show_turn(question, &sides);
        let mut state = self.state.borrow_mut();
        for side in &sides {
            state.history.entry(*side).or_default().push(Message::new("user", question));
        }
        // One request while both have heard the same; afterwards each goes on with what it said itself.
        let same = sides.windows(2).all(|pair| state.history.get(&pair[0]) == state.history.get(&pair[1]));
        let groups = if same { vec![sides] } else { sides.into_iter().map(|side| vec![side]).collect() };
        for sides in groups {
            let id = state.next_id;
            state.next_id += 1;
            let mut messages = state.history[&sides[0]].clone();
            let system = dom::value("system");
            if !system.is_empty() {
                messages.insert(0, Message::new("system", system));
            }
            let request = Request::Generate { id, messages, sides: sides.clone(), max_tokens, sampling };
            state.waiting.push_back((Open { id, sides }, request));
        }
        drop(state);
        self.next();
    }

    fn show_turn(&self, question: &str, sides: &[Side]) {
        let turn = dom::new("article", "turn", "");
        add(&turn, &dom::foreign("p", "question words", question));
        let both = dom::new("div", "sides", "");
        let mut state = self.state.borrow_mut();
        for side in sides {
            let name = if *side == Side::Base { "Base" } else { "With the adapter" };
            let class = if *side == Side::Base { "side base" } else { "side tuned" };
            let part = dom::new("div", class, "");
            add(&part, &dom::new("h3", "", name));
            let answer = dom::foreign("p", "answer words waiting", "");
            add(&part, &answer);
            add(&part, &dom::new("p", "note", ""));
            add(&both, &part);
            state.answers.insert(*side, (answer, String::new()));
        }
        add(&turn, &both);
        let turns = element("turns");
        add(&turns, &turn);
        turns.set_scroll_top(turns.scroll_height());
    }

    /// Sends the next request, once the one before is answered.
    fn next(&self) {
        let mut state = self.state.borrow_mut();
        if state.open.is_none()
            && let Some((open, request)) = state.waiting.pop_front()
        {
            state.open = Some(open);
            self.link.send(&request);
        }
        drop(state);
        self.update();
    }

    /// A piece of an answer.
    pub fn token(&self, id: u32, side: Side, text: &str) {
        let mut state = self.state.borrow_mut();
        if state.open.as_ref().is_none_or(|open| open.id != id) {
            return;
        }
        if let Some((element, answer)) = state.answers.get_mut(&side) {
            answer.push_str(text);
            element.set_text_content(Some(answer));
            element.set_class_name("answer words");
        }
        let turns = element("turns");
        turns.set_scroll_top(turns.scroll_height());
    }

    /// An answer is complete.
    pub fn answered(&self, id: u32, side: Side, tokens: usize, seconds: f64, stopped: bool) {
        let mut state = self.state.borrow_mut();
        if state.open.as_ref().is_none_or(|open| open.id != id) {
            return;
        }
        if let Some((element, answer)) = state.answers.get(&side).cloned() {
            element.set_class_name(if answer.is_empty() { "answer words empty" } else { "answer words" });
            let speed = if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
            let end = if stopped { ", stopped" } else { "" };
            if let Some(note) = element.next_element_sibling() {
                note.set_text_content(Some(&format!("{tokens} tokens, {speed:.0} a second{end}")));
            }
            let name = if side == Side::Base { "Base" } else { "With the adapter" };
            announce(&format!("{name}: {answer}"));
            state.history.entry(side).or_default().push(Message::new("assistant", answer));
        }
        let is_over = state.open.as_mut().is_none_or(|open| {
            open.sides.retain(|open| *open != side);
            open.sides.is_empty()
        });
        if is_over {
            state.open = None;
        }
        drop(state);
        self.next();
    }

    /// Ends the answer under way and those that wait.
    pub fn stop(&self) {
        let mut state = self.state.borrow_mut();
        state.waiting.clear();
        if state.open.is_some() {
            self.link.send(&Request::StopGenerating);
        }
    }

    /// What was asked has failed: the question is taken back.
    pub fn fail(&self, message: &str) {
        let mut state = self.state.borrow_mut();
        state.waiting.clear();
        state.open = None;
        for messages in state.history.values_mut() {
            messages.pop_if(|message| message.role == "user");
        }
        for (element, _) in state.answers.values() {
            _ = element.class_list().remove_1("waiting");
        }
        drop(state);
        set_text("talk-error", message);
        self.update();
    }
}

/// Puts the defaults of how answers are drawn into their fields.
pub fn fill_options() {
    let Sampling { temperature, top_p, seed } = Sampling::default();
    dom::set_value("max-tokens", &DEFAULT_MAX_TOKENS.to_string());
    dom::set_value("temperature", &write::setting(temperature));
    dom::set_value("top-p", &write::setting(top_p));
    dom::set_value("talk-seed", &seed.to_string());
}

fn read_options() -> Result<(usize, Sampling), String> {
    let wrong = |label: &str, expected: &str| format!("{label} is not {expected}.");
    let max_tokens = dom::value("max-tokens").parse().map_err(|_| wrong("Most tokens", "a whole number"))?;
    let temperature = dom::value("temperature").parse().map_err(|_| wrong("Temperature", "a number, 0 or more"))?;
    let top_p = dom::value("top-p").parse().map_err(|_| wrong("Top-p", "a number above 0, at most 1"))?;
    let seed = dom::value("talk-seed").parse().map_err(|_| wrong("Seed", "a whole number"))?;
    Ok((max_tokens, Sampling { temperature, top_p, seed }))
}
