#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringfence_wire::check::startup(bytes));
