//! Fuzz target: everything a peer can send. See [`kernpost_fuzz::decoder`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kernpost_fuzz::decoder::decode(input));
