//! `rbench_fuzz::batch` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rbench_fuzz::batch(data));
