//! What to lower where a run does not fit.

use super::step::Step;
use super::{BatchShape, MemorySetup};
use crate::device::DeviceInfo;
use crate::error::{Error, Result};
use crate::source::what_fits;
use crate::write;

/// Rows are not cut shorter than this for want of memory.
const SHORTEST: usize = 64;

/// Why a run does not fit into `room` bytes of main memory, and what makes it fit; `None` if it does as it is.
pub fn too_much(setup: &MemorySetup<'_>, room: u64) -> Option<String> {
    let all = takes(setup);
    if all <= room {
        return None;
    }
    let remedies = remedies(setup, &Bound { takes: &takes, room, recomputing_helps: true });
    let advice = if remedies.is_empty() {
        let base = write::bytes(setup.base.resident);
        format!("nor would it fit with shorter rows, smaller batches and --grad-checkpoint: the base is {base} already")
    } else {
        advice(&remedies)
    };
    let [all, room] = [all, room].map(write::bytes);
    Some(format!("this run would take {all} of memory, and {room} are free; {advice}"))
}

/// Says whether `device` can bind what a batch of the run takes, with the model called `name`.
///
/// # Errors
/// If it cannot: what, which limit it breaks, and what to lower.
pub fn check_batches(name: &str, setup: &MemorySetup<'_>, device: &DeviceInfo) -> Result<()> {
    match too_large(setup, device) {
        None => Ok(()),
        Some(why) => Err(Error::model(name, why)),
    }
}

/// Why a run cannot go on `device`, which binds less in one piece than a batch takes, and what makes it go; `None` if it can.
pub(super) fn too_large(setup: &MemorySetup<'_>, device: &DeviceInfo) -> Option<String> {
    let (piece, batch) = largest_piece(setup);
    let what = format!("{} of {} rows x {} tokens", piece.0, batch.rows, batch.length);
    device.cannot_bind(&what, piece.1, || {
        let takes = |setup: &MemorySetup<'_>| largest_piece(setup).0.1;
        let bound = Bound { takes: &takes, room: device.max_tensor_bytes, recomputing_helps: false };
        match remedies(setup, &bound).as_slice() {
            [] => {
                let others = what_fits(device, SHORTEST as u64);
                format!("nor would a batch of one row of {SHORTEST} tokens fit; {others}")
            }
            remedies => format!("{}, and ", advice(remedies)),
        }
    })
}

/// The largest single allocation of those that grow with the batch, and that batch.
fn largest_piece(setup: &MemorySetup<'_>) -> ((&'static str, u64), BatchShape) {
    let piece = |batch| (Step::new(setup, batch).piece(), batch);
    let [train, evaluation] = [Some(setup.batch), setup.validation].map(|batch| batch.map(piece));
    evaluation.into_iter().chain(train).max_by_key(|((_, bytes), _)| *bytes).expect("a batch to train with")
}

fn takes(setup: &MemorySetup<'_>) -> u64 {
    setup.plan().main_memory(setup.device)
}

/// What a run must keep within.
struct Bound<'a> {
    /// What a run takes of it, in bytes.
    takes: &'a dyn Fn(&MemorySetup<'_>) -> u64,
    /// What it may take.
    room: u64,
    /// Whether a run with `--grad-checkpoint` takes less.
    recomputing_helps: bool,
}

/// `remedies` in words.
fn advice(remedies: &[(String, u64)]) -> String {
    let would = |at| if at == 0 { " would take" } else { "" };
    let each = remedies.iter().enumerate();
    let each = each.map(|(at, (flags, bytes))| format!("{flags}{} {}", would(at), write::bytes(*bytes)));
    each.collect::<Vec<_>>().join(", ")
}

/// A setting as the program and the page call it.
fn setting(flag: &str, field: &str, value: usize) -> String {
    if cfg!(target_family = "wasm") { format!("{field} {value}") } else { format!("{flag} {value}") }
}

/// The least that has to be lowered for a run to keep within `bound`, as flags, and what it then takes: one thing or
/// another, or all of them together where no single one is enough.
fn remedies(setup: &MemorySetup<'_>, bound: &Bound<'_>) -> Vec<(String, u64)> {
    let longest = setup.batch.length.max(setup.validation.map_or(0, |batch| batch.length));
    let lengths = || halves(longest).filter(|length| *length >= SHORTEST);
    let fits = |setup: &MemorySetup<'_>| Some((bound.takes)(setup)).filter(|bytes| *bytes <= bound.room);
    let length_of = |length| setting("--max-seq-length", "a longest row of", length);
    let size_of = |rows| setting("--batch-size", "a batch size of", rows);
    let shorter =
        |setup: &MemorySetup<'_>| lengths().find_map(|length| Some((length_of(length), fits(&cut(setup, length))?)));
    let smaller = |setup: &MemorySetup<'_>| {
        halves(setup.batch.rows).find_map(|rows| Some((size_of(rows), fits(&split(setup, rows))?)))
    };
    let can_recompute = bound.recomputing_helps && !(setup.grad_checkpoint || setup.all_weights());
    let recompute = MemorySetup { grad_checkpoint: setup.grad_checkpoint || can_recompute, ..*setup };
    let recomputed = || if can_recompute { Some(("--grad-checkpoint".to_owned(), fits(&recompute)?)) } else { None };
    let single: Vec<_> = [shorter(setup), recomputed(), smaller(setup)].into_iter().flatten().collect();
    if !single.is_empty() {
        return single;
    }
    let flag = if can_recompute { "--grad-checkpoint " } else { "" };
    let least = split(&recompute, 1);
    let both = fits(&least).map(|bytes| (format!("{flag}{}", size_of(1)), bytes));
    let all = || shorter(&least).map(|(length, bytes)| (format!("{flag}{} {length}", size_of(1)), bytes));
    both.or_else(all).into_iter().collect()
}

/// Powers of two below `size`, largest first.
fn halves(size: usize) -> impl Iterator<Item = usize> {
    (0..usize::BITS - 1).rev().map(|power| 1 << power).filter(move |half| *half < size)
}

/// With rows of at most `length` tokens.
fn cut<'a>(setup: &MemorySetup<'a>, length: usize) -> MemorySetup<'a> {
    let cut = |batch: BatchShape| BatchShape { length: batch.length.min(length), ..batch };
    MemorySetup { batch: cut(setup.batch), validation: setup.validation.map(cut), ..*setup }
}

/// With batches of at most `rows` rows.
fn split<'a>(setup: &MemorySetup<'a>, rows: usize) -> MemorySetup<'a> {
    let split = |batch: BatchShape| BatchShape { rows: batch.rows.min(rows), ..batch };
    MemorySetup { batch: split(setup.batch), validation: setup.validation.map(split), ..*setup }
}
