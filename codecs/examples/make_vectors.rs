//! Writes the test vectors of WIRE §13: `cargo run -p kernpost-codecs --example make_vectors`.
//!
//! Deterministic: ECDSA signatures, which are randomised, are kept from the files that are there. Changing a vector
//! means changing the wire protocol for every other implementation; the tests say so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a tool for developers")]

#[path = "../tests/vectors/make.rs"]
mod make;

fn main() {
    let folder = make::folder();
    std::fs::create_dir_all(&folder).unwrap();
    for (name, cases) in make::all(&folder) {
        let text = serde_json::to_string_pretty(&cases).unwrap() + "\n";
        std::fs::write(folder.join(name), text).unwrap();
        println!("{name}: {} cases", cases.as_array().map_or(0, Vec::len));
    }
}
