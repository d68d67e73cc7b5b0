//! Collects the unsigned settlements of one turn, so that each link gets few SETTLE frames with ranges.

use bytes::{Bytes, BytesMut};
use kernpost_codecs::Code;
use kernpost_codecs::settlement::{Detail, Label, Settle};

use crate::link::LinkId;

/// Settlements that leave together.
#[derive(Debug)]
struct Group {
    link: LinkId,
    code: Code,
    detail: Detail,
    labels: Vec<Label>,
}

/// Settlements decided in this turn, not yet written. Emptied at the end of every turn.
#[derive(Debug, Default)]
pub struct Settling {
    groups: Vec<Group>,
}

impl Settling {
    /// Adds a label; joins a recent group of the same link, code and detail.
    pub fn add(&mut self, link: LinkId, label: Label, code: Code, detail: &Detail) {
        let recent = self.groups.iter_mut().rev().take(RECENT);
        for group in recent {
            if group.link == link && group.code == code && group.detail == *detail {
                group.labels.push(label);
                return;
            }
        }
        self.groups.push(Group { link, code, detail: detail.clone(), labels: vec![label] });
    }

    /// The SETTLE frames of this turn, in the order in which their groups began.
    pub fn drain(&mut self) -> Vec<(LinkId, Bytes)> {
        let mut frames = Vec::new();
        for group in self.groups.drain(..) {
            let mut bytes = BytesMut::new();
            Settle::new(group.code, group.detail, group.labels).encode(&mut bytes);
            frames.push((group.link, bytes.freeze()));
        }
        frames
    }
}

/// How far back a group to join is looked for.
const RECENT: usize = 8;
