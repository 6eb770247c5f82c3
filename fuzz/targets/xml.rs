#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| osteon_fuzz::native_model(data));
