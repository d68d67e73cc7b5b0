//! Fuzz target: everything a directory source can hold. See [`kernpost_fuzz::directory`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kernpost_fuzz::directory::load(input));
