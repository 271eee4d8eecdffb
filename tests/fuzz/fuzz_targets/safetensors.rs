#![no_main]

#[path = "../foreign.rs"]
#[allow(dead_code)]
mod foreign;
#[path = "../scratch.rs"]
mod scratch;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| foreign::check(foreign::safetensors(bytes, scratch::folder())));
