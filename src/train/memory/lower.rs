//! What to lower where a run does not fit.

use super::{BatchShape, MemorySetup};
use crate::write;

/// Rows are not cut shorter than this for want of memory.
const SHORTEST: usize = 64;

/// Why a run does not fit into `room` bytes of main memory, and what makes it fit; `None` if it does as it is.
pub fn too_much(setup: &MemorySetup<'_>, room: u64) -> Option<String> {
    let all = takes(setup);
    if all <= room {
        return None;
    }
    let remedies = remedies(setup, room);
    let advice = match remedies.split_first() {
        None => {
            let base = write::bytes(setup.base.resident);
            format!(
                "nor would it fit with shorter rows, smaller batches and --grad-checkpoint: the base is {base} already"
            )
        }
        Some(((flags, bytes), others)) => {
            let others = others.iter().map(|(flags, bytes)| format!(", {flags} {}", write::bytes(*bytes)));
            format!("{flags} would take {}{}", write::bytes(*bytes), others.collect::<String>())
        }
    };
    let [all, room] = [all, room].map(write::bytes);
    Some(format!("this run would take {all} of memory, and {room} are free; {advice}"))
}

fn takes(setup: &MemorySetup<'_>) -> u64 {
    setup.plan().main_memory(setup.device)
}

/// The least that has to be lowered for a run to fit into `room`, as flags, and what it then takes: one thing or another,
/// or all of them together where no single one is enough.
fn remedies(setup: &MemorySetup<'_>, room: u64) -> Vec<(String, u64)> {
    let longest = setup.batch.length.max(setup.validation.map_or(0, |batch| batch.length));
    let lengths = || halves(longest).filter(|length| *length >= SHORTEST);
    let fits = |setup: &MemorySetup<'_>| Some(takes(setup)).filter(|bytes| *bytes <= room);
    let shorter = |setup: &MemorySetup<'_>| {
        lengths().find_map(|length| Some((format!("--max-seq-length {length}"), fits(&cut(setup, length))?)))
    };
    let smaller = |setup: &MemorySetup<'_>| {
        halves(setup.batch.rows).find_map(|rows| Some((format!("--batch-size {rows}"), fits(&split(setup, rows))?)))
    };
    let can_recompute = !(setup.grad_checkpoint || setup.all_weights());
    let recompute = MemorySetup { grad_checkpoint: setup.grad_checkpoint || can_recompute, ..*setup };
    let recomputed = || if can_recompute { Some(("--grad-checkpoint".to_owned(), fits(&recompute)?)) } else { None };
    let single: Vec<_> = [shorter(setup), recomputed(), smaller(setup)].into_iter().flatten().collect();
    if !single.is_empty() {
        return single;
    }
    let flag = if can_recompute { "--grad-checkpoint " } else { "" };
    let least = split(&recompute, 1);
    let both = fits(&least).map(|bytes| (format!("{flag}--batch-size 1"), bytes));
    let all = || shorter(&least).map(|(length, bytes)| (format!("{flag}--batch-size 1 {length}"), bytes));
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
