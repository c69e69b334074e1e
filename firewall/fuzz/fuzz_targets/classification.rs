#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| drop(ringfence_policy::parse(text, "fuzz.yaml")));
