#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| podrefresh_fuzz::notification(data));
