//! `rbench_fuzz::collector` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rbench_fuzz::collector(data));
