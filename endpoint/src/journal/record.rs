//! How is a verdict written down? One fixed layout with a version byte, read strictly.
//!
//! ```text
//! version 1 byte = 1, leaf 32 bytes, outcome 1 byte, code 8 bytes, forget-after 8 bytes, problem UTF-8 to the end
//! ```

use kernpost_codecs::digest::Digest;
use kernpost_codecs::{Outcome, UnixMs};

use crate::core::Earlier;

const VERSION: u8 = 1;

/// Writes a verdict.
pub(in crate::journal) fn encode(verdict: &Earlier, forget_after: UnixMs) -> Vec<u8> {
    let problem = verdict.problem.as_deref().unwrap_or_default();
    let mut bytes = Vec::with_capacity(50 + problem.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(&verdict.leaf.0);
    bytes.extend_from_slice(&verdict.outcome.as_u64().to_be_bytes()[7..]);
    bytes.extend_from_slice(&verdict.code.to_be_bytes());
    bytes.extend_from_slice(&forget_after.0.to_be_bytes());
    bytes.extend_from_slice(problem.as_bytes());
    bytes
}

/// Reads a verdict and when it is forgotten; `None` when it is damaged.
pub(in crate::journal) fn decode(bytes: &[u8]) -> Option<(Earlier, UnixMs)> {
    let (&version, rest) = bytes.split_first()?;
    let (leaf, rest) = rest.split_first_chunk::<32>()?;
    let (&outcome, rest) = rest.split_first()?;
    let (code, rest) = rest.split_first_chunk::<8>()?;
    let (forget_after, problem) = rest.split_first_chunk::<8>()?;
    let problem = std::str::from_utf8(problem).ok()?;
    (version == VERSION).then_some(())?;
    let earlier = Earlier {
        leaf: Digest(*leaf),
        outcome: Outcome::try_from(u64::from(outcome)).ok()?,
        code: u64::from_be_bytes(*code),
        problem: (!problem.is_empty()).then(|| problem.to_owned()),
    };
    Some((earlier, UnixMs(u64::from_be_bytes(*forget_after))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_read_as_it_was_written() {
        for problem in [None, Some("unvollständig".to_owned())] {
            let verdict = Earlier { leaf: Digest([3; 32]), outcome: Outcome::Rejected, code: 1_001, problem };
            assert_eq!(decode(&encode(&verdict, UnixMs(5))), Some((verdict, UnixMs(5))));
        }
    }

    #[test]
    fn a_damaged_verdict_is_not_read() {
        let good =
            encode(&Earlier { leaf: Digest([3; 32]), outcome: Outcome::Delivered, code: 0, problem: None }, UnixMs(5));
        assert_eq!(decode(&good[..20]), None);
        let mut other_version = good;
        other_version[0] = 9;
        assert_eq!(decode(&other_version), None);
    }
}
