//! The document: elements by their id, and new ones. Text only ever becomes a text node.

use gloo::events::EventListener;
use gloo::utils::document;
use wasm_bindgen::{JsCast, UnwrapThrowExt};
use web_sys::{Element, Event, HtmlElement, HtmlInputElement, HtmlSelectElement, HtmlTextAreaElement};

/// The element of `index.html` with this id: without it, page and program do not belong together.
pub fn by_id<T: JsCast>(id: &str) -> T {
    let found = document().get_element_by_id(id).and_then(|element| element.dyn_into().ok());
    found.expect_throw(&format!("#{id} is missing in index.html, or another kind of element"))
}

/// The element itself, whatever its kind.
pub fn element(id: &str) -> HtmlElement {
    by_id(id)
}

/// A new element with a class and a text.
pub fn new(tag: &str, class: &str, text: &str) -> Element {
    let element = document().create_element(tag).expect_throw("tag names are constants");
    if !class.is_empty() {
        element.set_class_name(class);
    }
    if !text.is_empty() {
        element.set_text_content(Some(text));
    }
    element
}

/// A new element whose text runs in its own direction, whatever that is: data and answers.
pub fn foreign(tag: &str, class: &str, text: &str) -> Element {
    let element = new(tag, class, text);
    attribute(&element, "dir", "auto");
    element
}

/// A new SVG element with attributes.
pub fn svg(tag: &str, attributes: &[(&str, &str)]) -> Element {
    let namespace = Some("http://www.w3.org/2000/svg");
    let element = document().create_element_ns(namespace, tag).expect_throw("tag names are constants");
    for (name, value) in attributes {
        attribute(&element, name, value);
    }
    element
}

/// Sets an attribute.
pub fn attribute(element: &Element, name: &str, value: &str) {
    element.set_attribute(name, value).expect_throw("attribute names are constants");
}

/// Puts `child` at the end of `parent`.
pub fn add(parent: &Element, child: &Element) {
    parent.append_child(child).expect_throw("an element takes children");
}

/// Removes all that is in an element.
pub fn clear(element: &Element) {
    element.set_text_content(None);
}

/// Sets the text of the element with this id, where it is another.
pub fn set_text(id: &str, text: &str) {
    let element = element(id);
    if element.text_content().as_deref() != Some(text) {
        element.set_text_content(Some(text));
    }
}

/// Shows or hides the element with this id.
pub fn show(id: &str, is_shown: bool) {
    element(id).set_hidden(!is_shown);
}

/// Lets the button, field or group with this id be used, or not.
pub fn enable(id: &str, is_enabled: bool) {
    element(id).toggle_attribute_with_force("disabled", !is_enabled).expect_throw("a constant");
}

/// Calls `action` at every `event` of `target`, as long as the page lives.
pub fn on(target: &web_sys::EventTarget, event: &'static str, action: impl FnMut(&Event) + 'static) {
    let options = gloo::events::EventListenerOptions::enable_prevent_default();
    EventListener::new_with_options(target, event, options, action).forget();
}

/// Calls `action` at every press of the button with this id.
pub fn on_click(id: &str, mut action: impl FnMut() + 'static) {
    on(&element(id), "click", move |_| action());
}

/// What is in the field with this id, without blanks around it.
pub fn value(id: &str) -> String {
    let element = element(id);
    let text = if let Some(input) = element.dyn_ref::<HtmlInputElement>() {
        input.value()
    } else if let Some(area) = element.dyn_ref::<HtmlTextAreaElement>() {
        area.value()
    } else {
        element.dyn_ref::<HtmlSelectElement>().map(HtmlSelectElement::value).unwrap_or_default()
    };
    text.trim().to_owned()
}

/// Fills the field with this id.
pub fn set_value(id: &str, value: &str) {
    let element = element(id);
    if let Some(input) = element.dyn_ref::<HtmlInputElement>() {
        input.set_value(value);
    } else if let Some(area) = element.dyn_ref::<HtmlTextAreaElement>() {
        area.set_value(value);
    } else if let Some(select) = element.dyn_ref::<HtmlSelectElement>() {
        select.set_value(value);
    }
}

/// Whether the box with this id is ticked.
pub fn is_checked(id: &str) -> bool {
    by_id::<HtmlInputElement>(id).checked()
}

/// Ticks the box with this id, or not.
pub fn check(id: &str, is_checked: bool) {
    by_id::<HtmlInputElement>(id).set_checked(is_checked);
}

/// Sets a bar to `done` of `total`; without a total it only shows that something goes on.
pub fn progress(id: &str, done: f64, total: f64) {
    let bar: web_sys::HtmlProgressElement = by_id(id);
    if total > 0.0 {
        bar.set_value((done / total).clamp(0.0, 1.0));
    } else {
        _ = bar.remove_attribute("value");
    }
}

/// The element with the focus.
pub fn focused() -> Option<HtmlElement> {
    document().active_element().and_then(|element| element.dyn_into().ok())
}

/// Where `focused` is hidden by now, the first of `ids` that is shown takes the focus over.
pub fn keep_focus(focused: Option<HtmlElement>, ids: &[&str]) {
    if focused.is_some_and(|focused| focused.hidden())
        && let Some(next) = ids.iter().map(|id| element(id)).find(|next| !next.hidden())
    {
        // An element that cannot be focused leaves the focus where it is.
        _ = next.focus();
    }
}

/// Says something to those who do not see the page.
pub fn announce(text: &str) {
    set_text("live", text);
}

/// Opens the folded part with this id, or closes it.
pub fn unfold(id: &str, is_open: bool) {
    by_id::<web_sys::HtmlDetailsElement>(id).set_open(is_open);
}

/// A button that shows the element with id `part`, and hides it again; `action` is called when it is shown.
pub fn toggle(button: &'static str, part: &'static str, mut action: impl FnMut() + 'static) {
    on_click(button, move || {
        let is_shown = element(part).hidden();
        show(part, is_shown);
        attribute(&element(button), "aria-expanded", if is_shown { "true" } else { "false" });
        if is_shown {
            action();
        }
    });
}

/// The chosen files of an input, which is then empty, so that the same file can be chosen again.
pub fn take_files(input: &HtmlInputElement) -> Vec<web_sys::File> {
    let files = input.files().map(|list| (0..list.length()).filter_map(|i| list.get(i)).collect());
    input.set_value("");
    files.unwrap_or_default()
}
