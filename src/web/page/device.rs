//! The view of the device, and of what keeps the worker from working.

use super::dom::{self, add, announce, element, set_text, show};
use crate::report::axis::compact;
use crate::web::protocol::{Cause, DeviceReport};
use crate::write;

/// Shows what the check gave.
pub fn set(report: &DeviceReport) {
    let name = if report.name.is_empty() { "a GPU without a name" } else { &report.name };
    set_text("device-name", name);
    let warning = "This is a processor posing as a GPU: everything works, but slowly. If the computer has a graphics \
                   card, update its driver and switch hardware acceleration on in the browser's settings.";
    set_text("device-warning", warning);
    show("device-warning", report.is_software);
    let figures = element("device-figures");
    dom::clear(&figures);
    let figure = |name: &str, value: &str| {
        let part = dom::new("div", "", "");
        add(&part, &dom::foreign("dt", "words", name));
        add(&part, &dom::foreign("dd", "words", value));
        add(&figures, &part);
    };
    figure("Name", name);
    figure("Matrix products", &format!("{:.1} GFLOP/s", report.matmul_gflops));
    figure("A launch", &format!("{:.3} ms", report.launch_ms));
    figure("This check", &write::duration(report.check_ms / 1e3));
    figure("Largest tensor", &write::bytes(report.max_tensor_bytes));
    for (name, value) in &report.limits {
        figure(name, &write::count(*value));
    }
    let kernels = element("kernels");
    dom::clear(&kernels);
    for (name, form, distance) in &report.kernels {
        let cells = [name.clone(), form.clone(), compact(*distance)];
        add(&kernels, &super::train::row("td", cells.into_iter()));
    }
}

/// Says why nothing goes on, and what to do.
pub fn broken(message: &str, cause: Cause) {
    let title = match cause {
        Cause::NoWebGpu => "This browser gives no WebGPU",
        Cause::Kernel => "This GPU does not compute what it should",
        Cause::DeviceLost => "The GPU was lost",
        Cause::Bug => "Something in this program broke",
    };
    set_text("broken-title", title);
    set_text("broken-message", message);
    show("broken-help", cause == Cause::NoWebGpu);
    let again = if cause == Cause::DeviceLost { "Start again, from the last save" } else { "Start again" };
    set_text("restart", again);
    show("broken", true);
    if cause == Cause::NoWebGpu {
        set_text("device-name", "none");
    }
    element("broken").scroll_into_view();
    announce(title);
}
